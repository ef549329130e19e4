import csv
import gzip
import hashlib
import json
import os
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import passage_files
from tasks.errors import InputError
from tasks.passage_files import read_passages
from tasks.passage_kinds import find_fault, identify, kind_of
from tasks.passages import Passage, Reason, Reject, parse_record

ROW = {"context": "长江是中国最长的河流。", "answer": "长江"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VISIBLE = st.tuples(TEXT, st.sampled_from("长aé，😀"), TEXT).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["context", "answer", "source", "title", "id", "question", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
in_a_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def read(path: Path, template: int = 1) -> list[Passage | Reject]:
    return list(read_passages(path, template))


def jsonl(*records: object) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def parse(record: object, template: int = 1) -> Passage | Reject:
    return parse_record(record, 0, 1, template)


def reason_of(outcome: Passage | Reject) -> Reason | None:
    return outcome.reason if isinstance(outcome, Reject) else None


def reasons_of(path: Path) -> list[Reason | None]:
    return [reason_of(outcome) for outcome in read(path)]


@contextmanager
def memory_within(size: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


# ---- JSON lines


def test_rows_and_lines_are_numbered_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    text = "\ufeff\n" + jsonl(ROW) + "\r\n \u3000\nnonsense\r\n" + jsonl(ROW).strip()
    first, second, third = read(write(tmp_path / "a.jsonl", text))
    assert (first.row, first.line, type(first)) == (0, 2, Passage)
    assert (second.row, second.line, reason_of(second)) == (1, 5, Reason.NOT_JSON)
    assert (third.row, third.line, third.id) == (2, 6, first.id)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"context": "\xff", "answer": "a"}', Reason.INVALID_TEXT),
        (b'{"context": "\\ud800", "answer": "a"}', Reason.INVALID_TEXT),
        (b'{"context": "a", "answer": "a", "id": 1' + b"0" * 5000 + b"}", Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
        (b"[" * 100_000 + b"]" * 100_000, Reason.NOT_JSON),
        (b'{"context": "a", "answer": "a"', Reason.NOT_JSON),
        (b'"text"', Reason.NOT_AN_OBJECT),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_bad_line_costs_one_row(tmp_path: Path, line: bytes, reason: Reason, name: str) -> None:
    good = jsonl(ROW).encode()
    outcomes = read(write(tmp_path / name, good + line + b"\n" + good))
    assert [reason_of(outcome) for outcome in outcomes] == [None, reason, None]
    assert [outcome.row for outcome in outcomes] == [0, 1, 2]


def test_line_of_a_megabyte_is_read(tmp_path: Path) -> None:
    record = {**ROW, "context": "长" * 400_000}
    (outcome,) = read(write(tmp_path / "a.jsonl", jsonl(record)))
    assert isinstance(outcome, Passage)
    assert outcome.context == record["context"]


def test_row_beyond_the_limit_ends_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage_files, "MAX_ROW_BYTES", 1 << 20)
    text = jsonl({**ROW, "context": "长" * 400_000})
    for name in ("a.jsonl", "b.json"):
        path = write(tmp_path / name, text if name == "a.jsonl" else f"[{text}]")
        with pytest.raises(InputError, match="line 1 is longer than 1 MiB"):
            read(path)


@pytest.mark.parametrize(
    "long", [{"context": "a" * 1_100_000}, {"prompt_domain": ["a" * 600_000] * 2}]
)
def test_row_of_parquet_beyond_the_limit_ends_reading(
    tmp_path: Path, long: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage_files, "MAX_ROW_BYTES", 1 << 20)
    rows = [{**ROW, "prompt_domain": ["a"]}, {**ROW, "prompt_domain": [], **long}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="row 1 is longer than 1 MiB"):
        read(tmp_path / "a.parquet")


@in_a_folder
@given(st.lists(st.one_of(JSON.map(json.dumps), st.text('{}[]",:\\a1长 \t\ud800', max_size=9))))
def test_every_line_that_is_not_blank_gives_one_outcome(tmp_path: Path, lines: list[str]) -> None:
    data = "\n".join(lines).encode(errors="surrogatepass")
    path = write(tmp_path / "a.jsonl", jsonl(ROW).encode() + data)
    outcomes = read(path)
    expected = [at for at, line in enumerate(lines, 2) if line.strip()]
    assert [outcome.row for outcome in outcomes] == list(range(len(expected) + 1))
    assert [outcome.line for outcome in outcomes] == [1, *expected]
    # nothing that a terminal or a log would act on
    assert all(outcome.detail.isprintable() for outcome in outcomes if isinstance(outcome, Reject))


# ---- JSON arrays


def test_array_gives_what_the_same_rows_as_lines_give(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "context": '引号"、括号[{、反斜杠\\，逗号,'}, 5, None, {**ROW, "id": 3}]
    as_lines = read(write(tmp_path / "a.jsonl", jsonl(*rows)))
    for indent in (None, 2):
        for ascii_only in (True, False):
            text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
            as_array = read(write(tmp_path / "a.json", "\ufeff\n " + text + "\n"))
            assert [{**vars(one), "line": 0} for one in as_array] == [
                {**vars(one), "line": 0} for one in as_lines
            ]


def test_row_of_an_array_knows_its_line(tmp_path: Path) -> None:
    text = "\n[\n" + json.dumps(ROW, indent=1) + ",\n\n  " + json.dumps(ROW) + ", 7\n]"
    outcomes = read(write(tmp_path / "a.json", text))
    assert [outcome.line for outcome in outcomes] == [3, 8, 8]


@in_a_folder
@given(
    rows=st.lists(JSON, min_size=1, max_size=6),
    indent=st.sampled_from([None, 1]),
    piece=st.integers(1, 40),
)
def test_array_is_cut_where_json_cuts_it(
    tmp_path: Path, rows: list[object], indent: int | None, piece: int
) -> None:
    path = write(tmp_path / "a.json", json.dumps(rows, indent=indent))
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file:
        patch.setattr(passage_files, "_PIECE_BYTES", piece)  # cuts through every kind of token
        elements = [json.loads(data) for _, data in passage_files._array_elements(path, file)]
    assert json.dumps(elements) == json.dumps(rows)


@pytest.mark.parametrize("piece", range(1, 30))
def test_escape_is_understood_across_pieces(
    tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage_files, "_PIECE_BYTES", piece)
    rows = [{**ROW, "context": text} for text in ('"', "\\", '\\",[', '\\\\"', "a\\")]
    outcomes = read(write(tmp_path / "a.json", json.dumps(rows)))
    contexts = [one.context for one in outcomes if isinstance(one, Passage)]
    assert contexts == [row["context"] for row in rows]


@pytest.mark.parametrize(
    "element",
    [b"{1}", b"nonsense", b'{"a": 1]', b'{"a" "b"} {}', b'"\xff"', b"1" + b"0" * 5000, b'"\\x"'],
)
def test_bad_element_of_an_array_costs_one_row(tmp_path: Path, element: bytes) -> None:
    good = json.dumps(ROW).encode()
    outcomes = read(
        write(tmp_path / "a.json", b"[" + good + b",\n" + element + b",\n" + good + b"]")
    )
    assert [isinstance(outcome, Passage) for outcome in outcomes] == [True, False, True]
    assert [outcome.line for outcome in outcomes] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"context": "a", "answer": "b"},\n {"context": "a', "line 2 has no end"),
        ('[{"context": "a", "answer": "b"},\n', "line 2 has no end"),
        ("[", "has no end"),
        ('[{"context": "a", "answer": "b"},\n]', "line 2: a comma"),
        ("[,1]", "line 1: a comma"),
        ("[1] 2", "goes on after the array"),
    ],
)
def test_broken_array_ends_reading_and_names_the_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "a.json", text))


# ---- CSV


def write_csv(path: Path, *rows: list[str], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@in_a_folder
@given(st.lists(st.tuples(VISIBLE, VISIBLE), min_size=1, max_size=5))
def test_csv_keeps_text_with_quotes_commas_and_line_ends(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    # what the format itself cannot hold: the writer does not quote a lone carriage return
    rows = [(context.replace("\r", ""), answer.replace("\r", "")) for context, answer in rows]
    path = write_csv(tmp_path / "a.csv", ["answer", "x", "context"], *([a, "", c] for c, a in rows))
    outcomes = read(path)
    assert [(one.context, one.answer) for one in outcomes if isinstance(one, Passage)] == rows


def test_csv_rows_know_the_line_where_they_start(tmp_path: Path) -> None:
    text = '\ufeffcontext,answer,id,question\r\n"两\n行",行,,\r\n\r\n只有一格\r\n段,落,9,问\r\n'
    first, second, third = read(write(tmp_path / "a.csv", text))
    assert (first.row, first.line) == (0, 2)
    assert isinstance(first, Passage)
    assert (first.context, first.reference) == ("两\n行", None)
    assert first.id.startswith("sha256-")
    assert (second.row, second.line, reason_of(second)) == (1, 5, Reason.NOT_CSV)
    assert third == Passage(2, 6, "9", "段", "落", "问", None, ())


def test_csv_row_with_bad_bytes_or_quotes_costs_one_row(tmp_path: Path) -> None:
    data = b'context,answer\na,b\n\xff,b\n"a"x,b\n,b\na,b\n'
    outcomes = read(write(tmp_path / "a.csv", data))
    expected = [None, Reason.INVALID_TEXT, Reason.NOT_CSV, Reason.EMPTY_FIELD, None]
    assert [reason_of(outcome) for outcome in outcomes] == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ('a"b,c"d\n"e""f",g\n', [('a"b', 'c"d'), ('e"f', "g")]),
        ('"a,b\n"c,d\ne,f\n', [Reason.NOT_CSV, ("e", "f")]),
        ('"a,b\nc,d"\ne,f\n', [Reason.NOT_CSV, ("e", "f")]),
        ("a,b\rc,d\r\ne,f\n", [("a", "b"), ("c", "d"), ("e", "f")]),
        ("a\0b,\0c\0\n\0,b\n", [("a\0b", "\0c\0"), Reason.EMPTY_FIELD]),
        (" a ,\tb\u2028c\x85\v\f\x1c\n", [(" a ", "\tb\u2028c\x85\v\f\x1c")]),
    ],
)
def test_csv_with_stray_quotes_or_controls_keeps_the_text_or_rejects_the_row(
    tmp_path: Path, rows: str, expected: list[object]
) -> None:
    outcomes = read(write(tmp_path / "a.csv", "context,answer\n" + rows))
    assert [
        (one.context, one.answer) if isinstance(one, Passage) else one.reason for one in outcomes
    ] == expected


def test_csv_cell_of_a_megabyte_is_read(tmp_path: Path) -> None:
    (outcome,) = read(write_csv(tmp_path / "a.csv", ["context", "answer"], ["a" * 1_000_000, "b"]))
    assert isinstance(outcome, Passage)
    assert len(outcome.context) == 1_000_000


def test_csv_holds_prompt_domain_as_json(tmp_path: Path) -> None:
    header = ["context", "answer", "prompt_common", "prompt_domain"]
    good = ["段", "落", "问", '["a", "b", "c"]']
    path = write_csv(tmp_path / "a.csv", header, good, ["段", "落", "问", "a b c"])
    first, second = read(path, template=4)
    assert isinstance(first, Passage)
    assert first.prompt_domain == ("a", "b", "c")
    assert reason_of(second) is Reason.WRONG_TYPE


def test_csv_with_an_open_quote_ends_reading(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 3 has no end"):
        read(write(tmp_path / "a.csv", 'context,answer\na,b\n"a,b\na,b\n'))


@pytest.mark.parametrize("row", ["x" * 2_000, '"' + "x\n" * 1_000, '"x\n",' * 500])
def test_csv_row_beyond_the_limit_ends_reading(
    tmp_path: Path, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage_files, "MAX_ROW_BYTES", 1_000)
    path = write(tmp_path / "a.csv", "context,answer\n" + "a,b\n" * 999 + row)
    outcomes = read_passages(path, 1)
    assert sum(1 for _ in islice(outcomes, 999)) == 999
    with pytest.raises(InputError, match=r"line 1001 is longer than .* close its quotes"):
        next(outcomes)


def test_table_without_the_needed_columns_is_refused(tmp_path: Path) -> None:
    table = pa.table({"context": ["段"], "title": ["落"]})
    pq.write_table(table, tmp_path / "a.parquet")
    write(tmp_path / "a.csv", "context;answer\na;b\n")
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(InputError, match="it needs `context` and `answer`"):
            read(tmp_path / name)


def test_table_with_a_needed_column_twice_is_refused(tmp_path: Path) -> None:
    names = ["context", "answer", "other", "other", "context"]
    table = pa.Table.from_arrays([pa.array(["段"])] * 5, names=names)
    pq.write_table(table, tmp_path / "a.parquet")
    write_csv(tmp_path / "a.csv", names, ["段"] * 5)
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(InputError, match="column `context` more than once"):
            read(tmp_path / name)


# ---- Parquet


def test_parquet_gives_what_the_same_rows_as_lines_give(tmp_path: Path) -> None:
    prompts = {"prompt_common": "问", "prompt_domain": ["a", "b", "c"]}
    rows = [
        {**ROW, **prompts, "id": 5, "question": "哪条？"},
        {**ROW, **prompts, "id": None, "question": None},
        {**ROW, **prompts, "id": 6, "question": "", "context": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    as_lines = read(write(tmp_path / "a.jsonl", jsonl(*rows)), template=4)
    as_table = read(tmp_path / "a.parquet", template=4)
    assert [{**vars(one), "detail": ""} for one in as_table] == [
        {**vars(one), "line": None, "detail": ""} for one in as_lines
    ]


def test_parquet_string_that_is_not_utf8_costs_one_row(tmp_path: Path) -> None:
    contexts = pa.array([b"a", b"\xff", b"b"]).view(pa.string())
    pq.write_table(pa.table({"context": contexts, "answer": ["x"] * 3}), tmp_path / "a.parquet")
    assert reasons_of(tmp_path / "a.parquet") == [None, Reason.INVALID_TEXT, None]


@pytest.mark.parametrize(
    "strange",
    [
        pa.array([2**31 - 1], pa.int32()).view(pa.date32()),
        pa.array([2**62]).view(pa.timestamp("ms")),
        pa.array([1]).view(pa.timestamp("s", "no\x1bwhere")),
    ],
)
def test_parquet_value_that_python_does_not_know_costs_one_row(
    tmp_path: Path, strange: pa.Array
) -> None:
    columns = {"context": ["段"] * 2, "answer": ["落"] * 2}
    ids = pa.concat_arrays([pa.nulls(1, strange.type), strange])
    pq.write_table(pa.table({**columns, "id": ids}), tmp_path / "a.parquet")
    assert reasons_of(tmp_path / "a.parquet") == [None, Reason.INVALID_TEXT]


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_cut_parquet_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 10), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match="cannot be read on after 0 rows"):
        read(path)


def test_parquet_with_damaged_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 10), path, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read on"):
        read(path)


def test_parquet_with_a_damaged_footer_is_refused_or_gives_every_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 59), path)
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    counts = [at for at in range(footer, len(data) - 8) if data[at] == 2 * 59]  # as thrift writes
    refused = 0
    for bit in (8 * at + shift for at in counts for shift in range(8)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert len(read(write(path, bytes(flipped)))) == 59
        except InputError:
            refused += 1
    assert refused > 16  # at least the rows of the file and of its row group


def test_parquet_with_a_column_that_has_no_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{**ROW, "qqqq": 1}]), path, store_schema=False)
    write(path, path.read_bytes().replace(b"qqqq", b"q\xffqq"))
    with pytest.raises(InputError, match="cannot be read on after 0 rows: 'utf-8' codec"):
        read(path)


# ---- files


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_file_without_rows_is_refused(tmp_path: Path, name: str) -> None:
    for content in ("\ufeff", " \n\n"):
        with pytest.raises(InputError, match="has no rows"):
            read(write(tmp_path / name, content))
        with pytest.raises(InputError, match="has no rows"):
            read(write(tmp_path / f"{name}.gz", gzip.compress(content.encode())))


def test_array_table_and_header_without_rows_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "[ ]")
    write(tmp_path / "a.csv", "context,answer\n")
    empty = pa.table({"context": pa.array([], pa.string()), "answer": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "a.parquet")
    for name in ("a.json", "a.csv", "a.parquet"):
        with pytest.raises(InputError, match="has no rows"):
            read(tmp_path / name)


def test_file_that_cannot_be_used_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    write(tmp_path / "a.txt", "x")
    write(tmp_path / "a.parquet.gz", gzip.compress(b"PAR1"))
    write(tmp_path / "empty.csv", "")
    write(tmp_path / "empty.csv.gz", "")
    write(tmp_path / "plain.jsonl.gz", jsonl(ROW))
    write(tmp_path / "packed.jsonl", gzip.compress(jsonl(ROW).encode()))
    write(tmp_path / "a.jsonl", jsonl(ROW).encode("utf-16"))
    write(tmp_path / "a.csv.gz", gzip.compress("context,answer\n".encode("utf-16")))
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "broken.jsonl").symlink_to("/proc/self/mem")  # opens, and then cannot be read
    for name, message in {
        "folder.json": "a folder, not a file",
        "a.txt": "no known kind; known: .jsonl, .json, .csv, .parquet",
        "a.parquet.gz": "no known kind",
        "none.jsonl": "no such file",
        "pipe.jsonl": "not a file that can be read twice",
        "empty.csv": "is empty",
        "empty.csv.gz": "is empty",
        "plain.jsonl.gz": "is not gzip; .* take .gz off its name",
        "packed.jsonl": "is gzip; add .gz to its name",
        "broken.jsonl": "cannot be read: Input/output error",
        "a.jsonl": "UTF-16; save it as UTF-8",
        "a.csv.gz": "UTF-16; save it as UTF-8",
    }.items():
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)


def test_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", jsonl(ROW))
    path.chmod(0)
    try:
        path.open("rb").close()
    except PermissionError:
        with pytest.raises(InputError, match="Permission denied"):
            read(path)
        with pytest.raises(InputError, match="Permission denied"):
            identify(path)
    else:
        pytest.skip("this user may read everything")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_reading_is_lazy(tmp_path: Path, name: str) -> None:
    # rows are given while the end of the file is not there yet
    good = jsonl(*[ROW] * 3000)
    text = {
        "a.jsonl": good,
        "a.json": "[" + good.strip().replace("\n", ",\n") + ', {"never',
        "a.csv": "context,answer\n" + "段,落\n" * 30000 + '"never',
    }[name]
    outcomes = read_passages(write(tmp_path / name, text), 1)
    assert isinstance(outcomes, Iterator)
    assert all(isinstance(outcome, Passage) for outcome in islice(outcomes, 500))


def test_memory_stays_bounded(tmp_path: Path) -> None:
    row = json.dumps({**ROW, "context": "长" * 4000}, ensure_ascii=False)
    for name, text in {
        "a.jsonl": (row + "\n") * 200,
        "a.json": "[" + ",".join([row] * 200) + "]",
        "a.csv": "context,answer\n" + ("长" * 4000 + ",长\n") * 200,
    }.items():
        path = write(tmp_path / name, text)
        packed = write(tmp_path / f"{name}.gz", gzip.compress(path.read_bytes()))
        assert path.stat().st_size > 2 << 20
        for one in (path, packed):
            with memory_within(1 << 20):
                assert sum(1 for _ in read_passages(one, 1)) == 200


# ---- gzip

TEXTS = {
    "a.jsonl": "\ufeff\n" + jsonl(ROW) + "\r\n \u3000\nnonsense\r\n" + jsonl({**ROW, "id": "𠀀\0"}),
    "a.json": "\ufeff \n" + json.dumps([ROW, 5, {**ROW, "answer": "👩‍👧"}], ensure_ascii=False),
    "a.csv": '\ufeffcontext,answer\r\n"两\n行",\u202e行\r\n\r\n只有一格\r\n段,落\r\n',
}
in_every_kind = pytest.mark.parametrize("name", TEXTS)


@in_every_kind
def test_gzip_gives_what_the_plain_file_gives(tmp_path: Path, name: str) -> None:
    data = TEXTS[name].encode()
    expected = read(write(tmp_path / name, data))
    assert len(expected) == 3
    assert read(write(tmp_path / f"{name}.gz", gzip.compress(data))) == expected
    assert read(write(tmp_path / f"{name.upper()}.GZ", gzip.compress(data))) == expected


@in_every_kind
def test_gzip_of_several_members_is_read_whole(tmp_path: Path, name: str) -> None:
    data = TEXTS[name].encode()
    expected = read(write(tmp_path / name, data))
    for size in range(1, 20):  # also in the middle of a character, and with padding at the end
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        members = b"".join(gzip.compress(piece) for piece in (b"", *pieces))
        assert read(write(tmp_path / f"{name}.gz", members + bytes(size))) == expected


@in_every_kind
def test_gzip_that_is_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    data = gzip.compress(TEXTS[name].encode())
    for size in range(2, len(data)):
        with pytest.raises(InputError, match=r"on after \d rows: Compressed file ended.*copy it"):
            read(write(tmp_path / f"{name}.gz", data[:size]))


@in_every_kind
def test_gzip_with_a_flipped_bit_is_refused_or_gives_the_same_rows(
    tmp_path: Path, name: str
) -> None:
    data = gzip.compress(TEXTS[name].encode())
    path = tmp_path / f"{name}.gz"
    expected = read(write(path, data))
    refused = set()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            outcomes = read(write(path, bytes(flipped)))
            assert outcomes == expected  # the bit was of a date, say, in the gzip's header
        except InputError:
            refused.add(bit)
    assert refused >= set(range(8 * len(data) - 64, 8 * len(data)))  # the checksum and the size


def test_damaged_gzip_says_how_many_rows_were_read(tmp_path: Path) -> None:
    rows = jsonl(*({**ROW, "id": number} for number in range(5000)))
    data = gzip.compress(rows.encode())
    for damaged in (data[:-1000], data[:-8] + bytes(8), data + b"garbage"):
        outcomes = []
        with pytest.raises(InputError, match="cannot be read on after") as raised:
            outcomes.extend(read_passages(write(tmp_path / "a.jsonl.gz", damaged), 1))
        told = re.search(r"after (\d+) rows", str(raised.value))
        assert told is not None
        assert 0 < int(told[1]) == len(outcomes)


BOMBS = {
    "line.jsonl.gz": (b"", b"0" * 4096),
    "cell.csv.gz": (b"context,answer\n", b"0" * 4096),
    "lines.csv.gz": (b'context,answer\n"', b"0000000\n" * 512),
    "cells.csv.gz": (b'context,answer\n"', b'0000000\n","' * 372),
    "string.json.gz": (b'["', b"0" * 4096),
    "marks.json.gz": (b"[[", b"0," * 2048),
    "blanks.json.gz": (b"[", b"    " * 1024),
}


@pytest.mark.parametrize("name", BOMBS)
def test_gzip_bomb_is_refused_before_it_takes_the_memory(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage_files, "MAX_ROW_BYTES", 1 << 17)
    start, piece = BOMBS[name]
    path = write(tmp_path / name, gzip.compress(start + piece * 2048))  # of 8 MiB
    assert path.stat().st_size < 1 << 15
    with memory_within(2 << 20), pytest.raises(InputError, match="longer than"):
        read(path)


# ---- what a file is


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", ".jsonl"),
        ("a.b.JSON", ".json"),
        ("a.csv.gz", ".csv.gz"),
        ("a.parquet.jsonl.GZ", ".jsonl.gz"),
        ("a.parquet.gz", ""),
        ("a.gz", ""),
        ("jsonl", ""),
        ("a.csv.bak", ""),
    ],
)
def test_kind_is_told_by_the_ending(name: str, kind: str) -> None:
    assert kind_of(Path("folder.csv") / name) == kind


def test_identity_is_the_kind_and_the_bytes(tmp_path: Path) -> None:
    data = jsonl(ROW).encode()
    packed = gzip.compress(data)
    contents = {"a.jsonl": data, "a.json": data, "a.jsonl.gz": packed, "a.json.gz": packed}
    identities = []
    for name, content in contents.items():
        path = write(tmp_path / name, content)
        assert find_fault(path) is None
        identities.append(identify(path))
        digest = hashlib.sha256(content).hexdigest()
        assert identities[-1] == {"kind": name.removeprefix("a"), "sha256": digest}
    assert all(identities.count(one) == 1 for one in identities)


def test_file_that_is_gone_or_cannot_be_read_has_no_identity(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").symlink_to("/proc/self/mem")
    for name in ("gone.jsonl", "broken.jsonl"):
        with pytest.raises(InputError, match=r"cannot be read: .*`dataset.predict_file`"):
            identify(tmp_path / name)
