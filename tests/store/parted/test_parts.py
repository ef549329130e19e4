"""A table in parts is read as the same table in one file."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TypeVar

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import StoreCorruptionError
from tasks.runs.results import find_predictions
from tasks.runs.run import list_files
from tasks.store.manifest import describe_table, list_parts, verify_files
from tasks.store.parted import write
from tasks.store.parted.places import local_folder, read_places
from tasks.store.parted.write import commit_in_form
from tasks.store.tables import iterate_rows, read_batches, read_schema
from tests.support.object_stores import use_memory

Folder = TypeVar("Folder", bound=PurePath)
SCHEMA = pa.schema([pa.field("row", pa.int64()), pa.field("text", pa.string())], {"of": "a run"})


def batch(rows: range) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"row": row, "text": f"第{row}"} for row in rows], SCHEMA)


def write_parts(folder: Folder, batches: list[pa.RecordBatch], rows_per_part: int) -> Folder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "ROWS_PER_PART", rows_per_part)
        commit_in_form(folder, SCHEMA, batches)
    return folder


@settings(max_examples=25)
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 12), st.data())
def test_rows_and_their_order_are_those_of_one_file(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], most: int, data: st.DataObject
) -> None:
    folder, count = tmp_path_factory.mktemp("run"), sum(sizes)
    ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
    batches = [batch(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    parts = write_parts(folder / "predictions", batches, most)
    commit_in_form(folder / "one.parquet", SCHEMA, batches)
    assert list(iterate_rows(parts)) == list(iterate_rows(folder / "one.parquet"))
    assert read_schema(parts).equals(SCHEMA, check_metadata=True)
    assert [one.rows for one in list_parts(parts)] == [
        min(most, count - first) for first in range(0, max(count, 1), most)
    ]
    places = data.draw(st.lists(st.integers(0, max(count - 1, 0)), unique=True).map(sorted))
    places = places if count else []
    for table in (parts, folder / "one.parquet"):
        assert [row["row"] for row in read_places(table, places)] == places


def test_parts_without_a_wanted_row_are_not_read(tmp_path: Path) -> None:
    parts = write_parts(tmp_path / "predictions", [batch(range(9))], 3)
    (parts / "part-00000.parquet").unlink()
    (parts / "part-00002.parquet").unlink()
    assert [row["text"] for row in read_places(parts, [4], ["text"])] == ["第4"]
    with pytest.raises(StoreCorruptionError, match=r"part-00002\.parquet cannot be read"):
        list(read_places(parts, [4, 8]))


def test_what_is_left_of_a_table_is_no_table(tmp_path: Path) -> None:
    parts = write_parts(tmp_path / "predictions", [batch(range(9))], 3)
    described = describe_table(parts)
    write_parts(tmp_path / "again", [batch(range(9))], 3)
    assert described == describe_table(tmp_path / "again")
    write_parts(tmp_path / "others", [batch(range(10))], 3)
    assert described != describe_table(tmp_path / "others")
    assert local_folder(parts) == parts
    (parts / "_manifest.json").write_bytes((parts / "_manifest.json").read_bytes()[:-9])
    for place in (parts, tmp_path / "missing"):
        with pytest.raises(StoreCorruptionError, match=f"{place.name} cannot be read"):
            next(read_batches(place))


def test_parts_in_an_object_store_are_found_read_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = use_memory(tmp_path, monkeypatch) / "runs/1"
    assert find_predictions(folder) == folder / "predictions.parquet"
    parts = write_parts(folder / "predictions", [batch(range(9))], 3)
    assert find_predictions(folder) == parts
    assert [row["row"] for row in iterate_rows(parts)] == list(range(9))
    assert [row["row"] for row in read_places(parts, [1, 7])] == [1, 7]
    assert local_folder(parts).is_dir()
    files = [*list_files(folder)]
    assert [PurePath(one.name).name for one in files] == [
        *(f"part-0000{number}.parquet" for number in range(3)),
        "_manifest.json",
    ]
    verify_files(folder, files)
