import json
import pickle
import random
import zlib  # noqa: F401 before Paddle, which brings its own
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import parts
from tasks.engine.tokenizer import QuestionTokenizer
from tasks.errors import InputError, ModelError, StorageError, StoreCorruptionError
from tasks.loading import LoadRequest, encode_rows, load_passages
from tasks.parts import read_rows
from tasks.passage_files import read_passages
from tasks.passages import Passage, Reason, Reject
from tasks.store import Manifest, file_sha256, find_checkpoint
from tasks.tables import DATASET, REJECTS

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
WORDS = "的一是在有中国长江河流大最问题答案上下文：，。？0123456789"
FINGERPRINT = "f" * 64


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    lines = [f"{token}\t{index}\n" for index, token in enumerate([*SPECIAL, *WORDS])]
    (folder / "vocab.txt").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def request_for(tmp_path: Path, model_folder: Path) -> LoadRequest:
    return LoadRequest(
        folder=tmp_path / "store" / "datasets" / FINGERPRINT,
        fingerprint=FINGERPRINT,
        decided_by={"template": 1, "text": "长江"},
        model_folder=model_folder,
        predict_file=tmp_path / "passages.jsonl",
        dataset_name="dureader_qg",
        template=1,
        max_seq_len=512,
        max_title_len=30,
        on_bad_row="reject",
    )


def write_rows(path: Path, count: int, bad_every: int = 0) -> list[dict[str, str]]:
    """Write `count` usable rows, with an unusable one before every `bad_every` of them."""
    chance = random.Random(7)  # noqa: S311
    rows, lines = [], []
    for number in range(count):
        if bad_every and number % bad_every == 0:
            lines.append("nonsense" if number else '{"id": "x", "context": "长江", "answer": " "}')
        context = "".join(chance.choices(WORDS, k=chance.randrange(1, 60)))
        rows.append(
            {"id": f"r{number}", "context": context, "answer": "长江", "question": "哪条？"}
        )
        lines.append(json.dumps(rows[-1], ensure_ascii=False))
    path.write_text("\n".join(lines), encoding="utf-8")
    return rows


def small_parts(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(parts, "ROWS_PER_PART", rows)


def manifest_in(request: LoadRequest) -> Manifest:
    found = find_checkpoint(request.folder / "manifest.json", request.fingerprint)
    assert found.damage is None
    assert found.manifest is not None
    return found.manifest


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def whole(request: LoadRequest) -> pa.Table:
    manifest = manifest_in(request)
    return read_rows(request.folder, manifest, 0, manifest.details["rows"])


def test_every_row_is_in_a_part_or_in_the_rejects(
    request_for: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch, 10)
    assert request_for.predict_file is not None
    rows = write_rows(request_for.predict_file, 35, bad_every=4)
    loaded = load_passages(request_for)
    manifest = manifest_in(request_for)
    assert [entry.name for entry in manifest.files] == [
        *(f"part-{number:05d}-of-00004.parquet" for number in range(4)),
        "rejects.parquet",
    ]
    assert set(files_in(request_for.folder)) == {
        "manifest.json",
        *(entry.name for entry in manifest.files),
    }
    table = whole(request_for)
    rejects = pq.read_table(request_for.folder / "rejects.parquet")
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
    request_for: LoadRequest, model_folder: Path
) -> None:
    assert request_for.predict_file is not None
    write_rows(request_for.predict_file, 12, bad_every=5)
    loaded = load_passages(request_for)
    tokenizer = QuestionTokenizer(model_folder, 1)
    rows = [row for row in read_passages(request_for.predict_file, 1) if isinstance(row, Passage)]
    encoded = [tokenizer.encode(row) for row in rows]
    assert not any(isinstance(one, Reject) for one in encoded)
    lengths = [len(one.input_ids) for one in encoded if not isinstance(one, Reject)]
    table = whole(request_for)
    pairs = zip(table["input_ids"].to_pylist(), table["token_type_ids"].to_pylist(), strict=True)
    assert list(pairs) == encoded
    assert table["seq_len"].to_pylist() == lengths
    assert loaded.details == {
        "rows_in": 15,
        "rows": 12,
        "rejects": 3,
        "tokens": sum(lengths),
        "longest": max(lengths),
        "part_rows": [12],
        "reject_reasons": {"empty_field": 1, "not_json": 2},
    }
    assert manifest_in(request_for) == loaded


def test_rejects_are_written_even_when_there_are_none(request_for: LoadRequest) -> None:
    assert request_for.predict_file is not None
    write_rows(request_for.predict_file, 2)
    load_passages(request_for)
    assert pq.read_table(request_for.folder / "rejects.parquet").num_rows == 0


def test_checkpoint_made_again_is_byte_identical(
    request_for: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch, 4)
    assert request_for.predict_file is not None
    write_rows(request_for.predict_file, 30, bad_every=2)
    load_passages(request_for)
    first = files_in(request_for.folder)
    load_passages(request_for)
    other = replace(request_for, folder=tmp_path / "other")
    load_passages(other)
    assert files_in(request_for.folder) == first == files_in(other.folder)


def test_two_processes_make_the_same_checkpoint_at_the_same_time(request_for: LoadRequest) -> None:
    assert request_for.predict_file is not None
    write_rows(request_for.predict_file, 300, bad_every=3)
    assert pickle.loads(pickle.dumps(request_for)) == request_for  # noqa: S301
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        manifests = list(pool.map(load_passages, [request_for] * 2))
    assert manifests[0] == manifests[1] == manifest_in(request_for)
    assert len(files_in(request_for.folder)) == 3


def test_first_bad_row_ends_a_run_that_asks_for_it(
    request_for: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch, 2)  # so that parts are written before the bad row is met
    assert request_for.predict_file is not None
    write_rows(request_for.predict_file, 9)
    with request_for.predict_file.open("a", encoding="utf-8") as file:
        file.write("\n\n[1]\n")
    with pytest.raises(InputError, match=r"row 9, line 11: not_an_object.*on_bad_row"):
        load_passages(replace(request_for, on_bad_row="fail"))
    assert list(tmp_path.iterdir()) == [request_for.predict_file]


def test_input_without_a_usable_row_is_refused_with_an_example(
    request_for: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch, 2)
    assert request_for.predict_file is not None
    request_for.predict_file.write_text('{"context": "a"}\n\n[1]\n[2]\n', encoding="utf-8")
    message = r"all 3 were rejected, 2 of them for not_an_object, such as row 1, line 3: .*\[1\]"
    with pytest.raises(InputError, match=message):
        load_passages(request_for)
    assert list(tmp_path.iterdir()) == [request_for.predict_file]


def test_input_that_breaks_midway_leaves_nothing_behind(
    request_for: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch, 2)
    path = tmp_path / "passages.json"
    row = '{"context": "长江", "answer": "长江"}'
    path.write_text(f"[{row}, {row}, {row}, {{", encoding="utf-8")
    request_for.folder.parent.mkdir(parents=True)  # was there before, and stays
    with pytest.raises(InputError, match="has no end"):
        load_passages(replace(request_for, predict_file=path))
    assert list(request_for.folder.parent.iterdir()) == []


def test_unusable_model_or_missing_input_creates_no_folder(
    request_for: LoadRequest, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_passages(request_for)
    with pytest.raises(ModelError):
        load_passages(replace(request_for, model_folder=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_input_that_changed_since_its_fingerprint_is_refused(
    request_for: LoadRequest, tmp_path: Path
) -> None:
    assert request_for.predict_file is not None
    write_rows(request_for.predict_file, 3)
    known = replace(request_for, input_sha256=file_sha256(request_for.predict_file))
    load_passages(known)
    write_rows(request_for.predict_file, 4)
    with pytest.raises(InputError, match="changed while it was read"):
        load_passages(replace(known, folder=tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_store_that_cannot_be_written_is_named(request_for: LoadRequest) -> None:
    assert request_for.predict_file is not None
    write_rows(request_for.predict_file, 3)
    request_for.folder.parent.parent.write_text("a file, not a folder")
    with pytest.raises(StorageError, match=r"store\.path"):
        load_passages(request_for)


def test_rows_are_encoded_one_at_a_time(request_for: LoadRequest, model_folder: Path) -> None:
    taken = []

    def rows() -> Iterator[Passage | Reject]:
        for number in range(3):
            taken.append(number)
            yield Passage(number, None, "a", "长江", "长", None, None, ())

    encoded = encode_rows(rows(), QuestionTokenizer(model_folder), request_for.on_bad_row)
    assert taken == []
    for number in range(3):
        next(encoded)
        assert taken == list(range(number + 1))


def test_long_passages_end_a_part_early(
    request_for: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "CHARACTERS_PER_PART", 100)
    assert request_for.predict_file is not None
    lines = [json.dumps({"context": "长" * size, "answer": "江"}) for size in (40, 70, 200, 1)]
    request_for.predict_file.write_text("\n".join(lines))
    assert load_passages(request_for).details["part_rows"] == [2, 1, 1]


def test_template_that_does_not_fit_is_a_reject_of_its_row(request_for: LoadRequest) -> None:
    assert request_for.predict_file is not None
    row = {"context": "长江", "answer": "长", "prompt_common": "问题"}
    rows: list[dict[str, Any]] = [
        {**row, "prompt_domain": ["a", "b"], "id": "two"},
        {**row, "prompt_domain": ["a", "b", "c"]},
    ]
    request_for.predict_file.write_text("\n".join(map(json.dumps, rows)))
    loaded = load_passages(replace(request_for, template=4))
    assert loaded.details["reject_reasons"] == {Reason.TEMPLATE_DOES_NOT_FIT: 1}
    assert whole(request_for)["row"].to_pylist() == [1]


# ---- reading rows back


def test_range_of_rows_is_the_slice_of_all_rows(
    request_for: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch, 3)
    assert request_for.predict_file is not None
    write_rows(request_for.predict_file, 10, bad_every=4)
    load_passages(request_for)
    manifest = manifest_in(request_for)
    everything = whole(request_for)
    for start in range(11):
        for stop in range(start, 11):
            rows = read_rows(request_for.folder, manifest, start, stop)
            assert rows.to_pylist() == everything.slice(start, stop - start).to_pylist()
            assert rows.schema == DATASET
    for start, stop in ((-1, 2), (3, 2), (0, 11)):
        with pytest.raises(ValueError, match="of 10"):
            read_rows(request_for.folder, manifest, start, stop)


def test_only_the_parts_that_are_needed_are_read(
    request_for: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch, 3)
    assert request_for.predict_file is not None
    write_rows(request_for.predict_file, 9)
    load_passages(request_for)
    manifest = manifest_in(request_for)
    (request_for.folder / "part-00000-of-00003.parquet").unlink()
    (request_for.folder / "part-00002-of-00003.parquet").write_bytes(b"damaged")
    rows = read_rows(request_for.folder, manifest, 3, 6)
    assert rows["id"].to_pylist() == ["r3", "r4", "r5"]
    for start, stop in ((2, 4), (5, 7)):
        with pytest.raises(StoreCorruptionError):
            read_rows(request_for.folder, manifest, start, stop)


@pytest.mark.parametrize("left", [0, 2])
def test_part_with_another_number_of_rows_is_damage(request_for: LoadRequest, left: int) -> None:
    assert request_for.predict_file is not None
    write_rows(request_for.predict_file, 3)
    load_passages(request_for)
    manifest = manifest_in(request_for)
    path = request_for.folder / "part-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, left), path)
    with pytest.raises(StoreCorruptionError, match=f"has {left} rows, its manifest says 3"):
        read_rows(request_for.folder, manifest, 0, 1)
