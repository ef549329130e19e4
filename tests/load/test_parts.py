import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.errors import StoreCorruptionError
from tasks.load import parts
from tasks.load.dataset import LoadRequest, load_passages
from tasks.load.parts import DatasetDetails
from tasks.store.tables import DATASET, iterate_rows
from tests.support.load_requests import manifest_in, read_rows, small_parts, whole, write_rows


def test_long_passages_end_a_part_early(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "CHARACTERS_PER_PART", 100)
    assert load_request.predict_file is not None
    lines = [json.dumps({"context": "长" * size, "answer": "江"}) for size in (40, 70, 200, 1)]
    load_request.predict_file.write_text("\n".join(lines))
    assert load_passages(load_request).details["part_rows"] == [2, 1, 1]


def test_range_of_rows_is_the_slice_of_all_rows(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch, 3)
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 10, bad_every=4)
    load_passages(load_request)
    manifest = manifest_in(load_request)
    everything = whole(load_request)
    for start in range(11):
        for stop in range(start, 11):
            rows = read_rows(load_request.folder, manifest, start, stop)
            assert rows.to_pylist() == everything.slice(start, stop - start).to_pylist()
            assert rows.schema == DATASET
    for start, stop in ((-1, 2), (3, 2), (0, 11)):
        with pytest.raises(ValueError, match="of 10"):
            read_rows(load_request.folder, manifest, start, stop)


def test_only_the_parts_that_are_needed_are_read(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch, 3)
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 9)
    load_passages(load_request)
    manifest = manifest_in(load_request)
    (load_request.folder / "part-00000-of-00003.parquet").unlink()
    (load_request.folder / "part-00002-of-00003.parquet").write_bytes(b"damaged")
    rows = read_rows(load_request.folder, manifest, 3, 6)
    assert rows["id"].to_pylist() == ["r3", "r4", "r5"]
    for start, stop in ((2, 4), (5, 7)):
        with pytest.raises(StoreCorruptionError):
            read_rows(load_request.folder, manifest, start, stop)


@pytest.mark.parametrize("left", [0, 2])
def test_part_with_another_number_of_rows_is_damage(load_request: LoadRequest, left: int) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 3)
    load_passages(load_request)
    manifest = manifest_in(load_request)
    path = load_request.folder / "part-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, left), path)
    with pytest.raises(StoreCorruptionError, match=f"has {left} rows, its manifest says 3"):
        read_rows(load_request.folder, manifest, 0, 1)


def test_rejects_of_several_files_name_them_and_the_rows_of_each_are_counted(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_rows(folder / "b.jsonl", 4, bad_every=2)
    write_rows(folder / "a.jsonl", 2, bad_every=1)
    request = replace(load_request, predict_file=folder)
    details = DatasetDetails.of(load_passages(request))
    assert details.file_rows == [("a.jsonl", 4), ("b.jsonl", 6)]
    rejects = list(iterate_rows(request.folder / "rejects.parquet"))
    places = [(one["row"], one["file"], one["line"]) for one in rejects]
    expected = [(0, "a.jsonl", 1), (2, "a.jsonl", 3), (4, "b.jsonl", 1), (7, "b.jsonl", 4)]
    assert places == expected
    rows = [{"row": row} for row in (0, 3, 4, 9)]
    files = [one["file"] for one in details.with_files(rows)]
    assert files == ["a.jsonl", "a.jsonl", "b.jsonl", "b.jsonl"]


def test_rejects_of_a_single_file_have_the_columns_that_they_always_had(
    load_request: LoadRequest,
) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 2, bad_every=1)
    details = DatasetDetails.of(load_passages(load_request))
    assert "file_rows" not in details.as_dict()
    (reject, *_) = iterate_rows(load_request.folder / "rejects.parquet")
    assert list(reject) == ["row", "line", "id", "reason", "detail"]
    assert list(details.with_files([reject])) == [reject]
