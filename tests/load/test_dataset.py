import json
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.engine.model_files import ModelFiles
from tasks.errors import InputError, ModelError, StorageError
from tasks.load import dataset as dataset
from tasks.load import parts
from tasks.load.dataset import LoadRequest, load_passages, read_sample
from tasks.load.encoding import Encoded, QuestionTokenizer, encode_rows
from tasks.load.parts import DatasetDetails
from tasks.passages.files import hash_passages
from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reason, Reject
from tasks.store.local import file_sha256
from tasks.store.tables import DATASET, REJECTS
from tests.support.load_requests import manifest_in, small_parts, whole, write_kind, write_rows


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_hundred_shards_of_cmrc_are_one_dataset(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    for shard in range(200):
        questions = [
            {"id": f"S{shard:03}_Q{number}", "question": "哪条？", "answers": answers}
            for number, answers in enumerate(
                [["长江"], ["长江", "长江", "河流"], [] if shard else ["长"]]
            )
        ]
        paragraph = {"id": f"S{shard}", "context": "长江是中国最大的河流。", "qas": questions}
        article = {"title": "长江", "paragraphs": [paragraph]}
        place = folder / f"dt=2026-11-{shard % 20 + 1:02}/part-{shard:03}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"version": "1", "data": [article]}, ensure_ascii=False))
    loaded = load_passages(replace(load_request, predict_file=folder))
    table, rejects = whole(load_request), pq.read_table(load_request.folder / "rejects.parquet")
    assert (loaded.details["rows_in"], table.num_rows, rejects.num_rows) == (800, 601, 199)
    order = [shard for day in range(20) for shard in range(day, 200, 20)]
    ids = [f"S{shard:03}_Q{number}" for shard in order for number in (0, 1, 1)]
    assert [one for one in table["id"].to_pylist() if not one.endswith("Q2")] == ids
    assert set(rejects["reason"].to_pylist()) == {"no_answer"}
    assert rejects["file"][0].as_py() == "dt=2026-11-01/part-020.json"


def test_every_row_is_in_a_part_or_in_the_rejects(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch, 10)
    assert load_request.predict_file is not None
    rows = write_rows(load_request.predict_file, 35, bad_every=4)
    loaded = load_passages(load_request)
    manifest = manifest_in(load_request)
    assert [entry.name for entry in manifest.files] == [
        *(f"part-{number:05d}-of-00004.parquet" for number in range(4)),
        "rejects.parquet",
    ]
    assert set(files_in(load_request.folder)) == {
        "manifest.json",
        *(entry.name for entry in manifest.files),
    }
    table = whole(load_request)
    rejects = pq.read_table(load_request.folder / "rejects.parquet")
    assert table.schema == DATASET
    assert rejects.schema == REJECTS
    assert table["id"].to_pylist() == [row["id"] for row in rows]
    assert table["context"].to_pylist() == [row["context"] for row in rows]
    assert table["reference"].to_pylist() == ["哪条？"] * 35
    numbers = table["row"].to_pylist() + rejects["row"].to_pylist()
    assert sorted(numbers) == list(range(loaded.details["rows_in"])) == list(range(44))
    assert rejects["line"].to_pylist() == [row + 1 for row in rejects["row"].to_pylist()]
    assert rejects["reason"].to_pylist() == ["empty_field"] + ["not_json"] * 8
    assert rejects["id"].to_pylist() == ["x"] + [None] * 8


def test_tokens_and_counts_are_those_of_the_tokenizer(
    load_request: LoadRequest, model_folder: Path
) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 12, bad_every=5)
    loaded = load_passages(load_request)
    tokenizer = QuestionTokenizer(model_folder, 1)
    rows = [row for row in read_passages(load_request.predict_file, 1) if isinstance(row, Passage)]
    encoded = [tokenizer.encode(row) for row in rows]
    assert not any(isinstance(one, Reject) for one in encoded)
    lengths = [len(one.input_ids) for one in encoded if not isinstance(one, Reject)]
    table = whole(load_request)
    pairs = zip(table["input_ids"].to_pylist(), table["token_type_ids"].to_pylist(), strict=True)
    tokens = [one[:2] for one in encoded if not isinstance(one, Reject)]
    assert list(pairs) == [(ids.tolist(), types.tolist()) for ids, types in tokens]
    assert table["seq_len"].to_pylist() == lengths
    assert loaded.details == {
        "rows_in": 15,
        "rows": 12,
        "rejects": 3,
        "tokens": sum(lengths),
        "longest": max(lengths),
        "part_rows": [12],
        "reject_reasons": {"empty_field": 1, "not_json": 2},
        "cut": {},
        "unknown_tokens": sum(table["unknown_tokens"].to_pylist()),
        "unknown_rows": 12,  # the template has characters that this vocabulary lacks
        "multiline_rows": 0,
        "multiline_at": [],
    }
    assert manifest_in(load_request) == loaded


def test_rejects_are_written_even_when_there_are_none(load_request: LoadRequest) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 2)
    load_passages(load_request)
    assert pq.read_table(load_request.folder / "rejects.parquet").num_rows == 0


def test_checkpoint_made_again_is_byte_identical(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch, 4)
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 30, bad_every=2)
    load_passages(load_request)
    first = files_in(load_request.folder)
    load_passages(load_request)
    other = replace(load_request, folder=tmp_path / "other")
    load_passages(other)
    assert files_in(load_request.folder) == first == files_in(other.folder)


def test_two_processes_make_the_same_checkpoint_at_the_same_time(load_request: LoadRequest) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 300, bad_every=3)
    assert pickle.loads(pickle.dumps(load_request)) == load_request  # noqa: S301
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        manifests = list(pool.map(load_passages, [load_request] * 2))
    assert manifests[0] == manifests[1] == manifest_in(load_request)
    assert len(files_in(load_request.folder)) == 3


def test_first_bad_row_ends_a_run_that_asks_for_it(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch, 2)  # so that parts are written before the bad row is read
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 9)
    with load_request.predict_file.open("a", encoding="utf-8") as file:
        file.write("\n\n[1]\n")
    with pytest.raises(InputError, match=r"row 9, line 11: not_an_object.*on_bad_row"):
        load_passages(replace(load_request, on_bad_row="fail"))
    assert list(tmp_path.iterdir()) == [load_request.predict_file]


def test_input_without_a_usable_row_is_refused_with_an_example(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch, 2)
    assert load_request.predict_file is not None
    text = '{"context": "a", "answer": 1}\n\n[1]\n[2]\n'
    load_request.predict_file.write_text(text, encoding="utf-8")
    message = r"all 3 rows were rejected, 2 of them for not_an_object; row 1, line 3: .*\[1\]"
    with pytest.raises(InputError, match=message):
        load_passages(load_request)
    assert list(tmp_path.iterdir()) == [load_request.predict_file]


def test_input_that_breaks_midway_leaves_nothing_behind(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch, 2)
    path = tmp_path / "passages.json"
    row = '{"context": "长江", "answer": "长江"}'
    path.write_text(f"[{row}, {row}, {row}, {{", encoding="utf-8")
    load_request.folder.parent.mkdir(parents=True)  # it existed before, and is kept
    with pytest.raises(InputError, match="has no end"):
        load_passages(replace(load_request, predict_file=path))
    assert list(load_request.folder.parent.iterdir()) == []


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def with_a_wrong_checksum(data: bytes) -> bytes:
    return data[:-8] + bytes(8)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".parquet"])
@pytest.mark.parametrize("damage", [cut, with_a_wrong_checksum])
def test_packed_input_that_is_damaged_leaves_nothing_behind(
    load_request: LoadRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    damage: Callable[[bytes], bytes],
) -> None:
    small_parts(monkeypatch, 100)
    path = tmp_path / f"passages{suffix}"
    write_kind(path, [(f"长江{number}", "长江") for number in range(500)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        InputError, match=r"(failed after \d+ rows|cannot be read): .*copy it again"
    ):
        load_passages(replace(load_request, predict_file=path))
    assert list(tmp_path.iterdir()) == [path]


def test_unusable_model_or_missing_input_creates_no_folder(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_passages(load_request)
    with pytest.raises(ModelError):
        load_passages(replace(load_request, tokenizer=ModelFiles.of_tokenizer(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_input_that_changed_since_its_fingerprint_is_refused(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 3)
    known = replace(load_request, input_sha256=file_sha256(load_request.predict_file))
    load_passages(known)
    write_rows(load_request.predict_file, 4)
    with pytest.raises(InputError, match="changed while it was read"):
        load_passages(replace(known, folder=tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def append_a_row(path: Path) -> None:
    with path.open("a") as file:
        file.write('\n{"context": "a", "answer": "b"}')


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def put_another_in_its_place(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().replace("长".encode(), "短".encode()))
    other.replace(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (append_a_row, "changed while it was read"),
        (cut_short, "changed while it was read"),
        (put_another_in_its_place, "changed while it was read"),
        (Path.unlink, "cannot be read: No such file"),
    ],
)
def test_input_that_changes_while_it_is_read_is_refused_and_leaves_nothing_behind(
    load_request: LoadRequest,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    message: str,
) -> None:
    path = load_request.predict_file
    assert path is not None
    write_rows(path, 20)
    known = replace(load_request, input_sha256=file_sha256(path))

    class ChangesTheInput(parts.PartWriter):
        def add(self, passage: Passage, encoded: Encoded) -> None:
            super().add(passage, encoded)
            if passage.row == 3:
                change(path)

    monkeypatch.setattr(dataset, "PartWriter", ChangesTheInput)
    with pytest.raises(InputError, match=message):
        load_passages(known)
    assert not load_request.folder.parent.exists()


def test_store_that_cannot_be_written_is_named(load_request: LoadRequest) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 3)
    load_request.folder.parent.parent.write_text("a file, not a folder")
    with pytest.raises(StorageError, match=r"store\.path"):
        load_passages(load_request)


def test_rows_are_encoded_one_at_a_time(model_folder: Path) -> None:
    taken = []

    def rows() -> Iterator[Passage | Reject]:
        for number in range(3):
            taken.append(number)
            yield Passage(number, None, "a", "长江", "长", None, None, ())

    encoded = encode_rows(rows(), QuestionTokenizer(model_folder).encode)
    assert taken == []
    for number in range(3):
        next(encoded)
        assert taken == list(range(number + 1))


def test_template_that_does_not_fit_is_a_reject_of_its_row(load_request: LoadRequest) -> None:
    assert load_request.predict_file is not None
    row = {"context": "长江", "answer": "长", "prompt_common": "问题"}
    rows: list[dict[str, Any]] = [
        {**row, "prompt_domain": ["a", "b"], "id": "two"},
        {**row, "prompt_domain": ["a", "b", "c"]},
    ]
    load_request.predict_file.write_text("\n".join(map(json.dumps, rows)))
    loaded = load_passages(replace(load_request, template=4))
    assert loaded.details["reject_reasons"] == {Reason.TEMPLATE_DOES_NOT_FIT: 1}
    assert whole(load_request)["row"].to_pylist() == [1]


def add_a_file(folder: Path) -> None:
    write_rows(folder / "c.jsonl", 1)


def change_a_file(folder: Path) -> None:
    write_rows(folder / "a.jsonl", 4)


def remove_a_file(folder: Path) -> None:
    (folder / "a.jsonl").unlink()


@pytest.mark.parametrize("change", [add_a_file, change_a_file, remove_a_file])
def test_a_folder_that_changed_since_its_fingerprint_is_refused(
    load_request: LoadRequest, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_rows(folder / "a.jsonl", 3)
    write_rows(folder / "b.jsonl", 3)
    known = replace(load_request, predict_file=folder, input_sha256=hash_passages(folder))
    load_passages(known)
    change(folder)
    with pytest.raises(InputError, match="in changed while it was read; run again"):
        load_passages(replace(known, folder=tmp_path / "other"))


def test_a_bad_row_of_several_files_is_told_with_its_file(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_rows(folder / "a.jsonl", 3)
    (folder / "b.jsonl").write_text("broken\n" + (folder / "a.jsonl").read_text())
    request = replace(load_request, predict_file=folder, on_bad_row="fail")
    with pytest.raises(InputError, match=r"row 3, b.jsonl, line 1: not_json"):
        load_passages(request)


def test_a_limit_takes_the_first_usable_rows_and_the_rejects_between_them(
    load_request: LoadRequest,
) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 10, bad_every=2)
    details = DatasetDetails.of(load_passages(replace(load_request, limit=3)))
    assert (details.rows, details.rejects, details.rows_in) == (3, 2, 5)
    assert whole(load_request)["row"].to_pylist() == [1, 2, 4]


def test_a_sample_has_the_same_rows_whatever_the_limit(load_request: LoadRequest) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 10, bad_every=2)
    for limit in (None, 1, 9):
        sample = read_sample(replace(load_request, limit=limit), 4)
        assert [row.number for row in sample] == [1, 2, 4, 5]


def test_a_limit_beyond_the_rows_takes_all_of_them(load_request: LoadRequest) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 4)
    assert DatasetDetails.of(load_passages(replace(load_request, limit=9))).rows == 4
