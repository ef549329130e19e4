import csv
import gzip
import json
import pickle
import random
import zlib  # noqa: F401 before Paddle, which brings its own
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import loading, parts
from tasks.engine.tokenizer import Encoded, QuestionTokenizer
from tasks.errors import InputError, ModelError, StorageError, StoreCorruptionError
from tasks.loading import LoadRequest, encode_rows, load_passages
from tasks.parts import read_rows
from tasks.passage_files import read_passages
from tasks.passage_kinds import KINDS
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


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def with_a_wrong_checksum(data: bytes) -> bytes:
    return data[:-8] + bytes(8)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".parquet"])
@pytest.mark.parametrize("damage", [cut, with_a_wrong_checksum])
def test_packed_input_that_is_damaged_leaves_nothing_behind(
    request_for: LoadRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    damage: Callable[[bytes], bytes],
) -> None:
    small_parts(monkeypatch, 100)
    path = tmp_path / f"passages{suffix}"
    write_kind(path, [(f"长江{number}", "长江") for number in range(500)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"cannot be read on after \d+ rows: .*copy it again"):
        load_passages(replace(request_for, predict_file=path))
    assert list(tmp_path.iterdir()) == [path]


def test_unusable_model_or_missing_input_creates_no_folder(
    request_for: LoadRequest, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such file"):
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
    request_for: LoadRequest,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    message: str,
) -> None:
    path = request_for.predict_file
    assert path is not None
    write_rows(path, 20)
    known = replace(request_for, input_sha256=file_sha256(path))

    class ChangesTheInput(parts.PartWriter):
        def add(self, passage: Passage, encoded: Encoded) -> None:
            super().add(passage, encoded)
            if passage.row == 3:
                change(path)

    monkeypatch.setattr(loading, "PartWriter", ChangesTheInput)
    with pytest.raises(InputError, match=message):
        load_passages(known)
    assert not request_for.folder.parent.exists()


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


# ---- text

ODD = [
    ("长\x00江", "\x00长"),
    ("".join(map(chr, range(0x20))) + "长", "长" + "".join(map(chr, range(0x7F, 0xA0)))),
    ("长\x1b[31m江\x9b2J\x07", "\x1b]0;长\x07"),
    ("\ufeff长\ufeff江", "长\ufeff"),
    (" \t长\r\n江\r\n\n ", "长 "),
    ("长\u2028江\u2029\x85\v\f", "长\u3000"),
    ("\u202e长江\u202c \u200f\u2067\u200e", "\u061c长"),
    ("ＡＢＣ１２３　ｶﾅ カナ ABC123", "１２３"),
    ("👨‍👩‍👧 🇨🇳 长 👍🏽", "👍🏽"),
    ("e\u0301 é 长\u0301 𠀀 ﷺ ㍿", "e\u0301"),
    ("长\ufffd\ufffe\uffff\U0010ffff\ue000\U000e0001", "长\ufffd"),
    ('长"江\\n,"",\\u0000', '"长"'),
    ("=cmd|' /C calc'!A0", "@长"),
    ("[CLS]长[SEP][MASK][UNK]", "[MASK]"),
    ("<script>长</script> {{7*7}} ${长} %s", "<b>"),
    ("长江是中国最长的河流。", "不在文中"),
    ("长江", "长江"),
    ("长江", "长江"),
]


def write_kind(path: Path, pairs: list[tuple[str, str]]) -> None:
    """Write the same rows as a file of any kind; two of them have one id."""
    rows = [
        {"context": context, "answer": answer, "id": str(number // 2), "question": answer}
        for number, (context, answer) in enumerate(pairs)
    ]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, write_page_checksum=True)
        return
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        if ".csv" in path.suffixes:
            writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
        elif ".json" in path.suffixes:
            json.dump(rows, file, ensure_ascii=False)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)


@pytest.mark.parametrize("kind", KINDS)
def test_odd_text_and_doubled_rows_come_into_the_store_unchanged(
    request_for: LoadRequest, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"odd{kind}"
    write_kind(path, ODD)
    loaded = load_passages(replace(request_for, predict_file=path))
    assert loaded.details["reject_reasons"] == {}
    table = whole(request_for)
    pairs = zip(table["context"].to_pylist(), table["answer"].to_pylist(), strict=True)
    assert list(pairs) == ODD
    assert table["reference"].to_pylist() == [answer for _, answer in ODD]
    assert table["id"].to_pylist() == [str(number // 2) for number in range(len(ODD))]
    assert table["row"].to_pylist() == list(range(len(ODD)))


def test_row_of_a_megabyte_comes_into_the_store_unchanged(request_for: LoadRequest) -> None:
    assert request_for.predict_file is not None
    pair = ("长" * 340_000, "江")
    write_kind(request_for.predict_file, [pair])
    assert request_for.predict_file.stat().st_size > 1_000_000
    load_passages(request_for)
    (row,) = whole(request_for).to_pylist()
    assert (row["context"], row["answer"], row["seq_len"]) == (*pair, 512)


def test_message_about_a_bad_row_has_nothing_that_a_terminal_acts_on(
    request_for: LoadRequest,
) -> None:
    path = request_for.predict_file
    assert path is not None
    for line in (
        '{"context": "\x1b[31m\x9b\u202e", "answer": "\x1b", "id": "\x9b2J"}',
        '{"context": "\\ud800\\u001b", "answer": "长", "id": "\\u009b2J"}',
        '{"\x1b]0;a\x07": "\u202e"}',
        "\x1b[2J\u202e",
        '{"context": 1, "answer": "长", "id": {"\\u001b": "\\u202e"}}',
    ):
        path.write_text(line, encoding="utf-8")
        with pytest.raises(InputError) as raised:
            load_passages(replace(request_for, on_bad_row="fail"))
        assert str(raised.value).isprintable()


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
