import csv
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import InputError
from tasks.passages import formats
from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reason
from tests.support.passage_texts import ROW, VISIBLE, in_a_folder, jsonl, read, reason_of, write

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
    # the csv writer does not quote a lone carriage return, so CSV cannot represent it
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
        ('"a,b\n"c,d\ne,f\n', [Reason.NOT_CSV, Reason.NOT_CSV, ("e", "f")]),
        ('"a,b\nc,d"\ne,f\n', [Reason.NOT_CSV, ("c", 'd"'), ("e", "f")]),
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


@pytest.mark.parametrize("end", ['"a', 'a,"b', '"a\nb\nc\n', '"a","b\nc'])
def test_csv_that_ends_within_a_cell_may_be_truncated_and_is_refused(
    tmp_path: Path, end: str
) -> None:
    with pytest.raises(InputError, match="line 3 has no end"):
        read(write(tmp_path / "a.csv", f"context,answer\na,b\n{end}"))


@pytest.mark.parametrize("row", ["x" * 2_000, '"' + "x\n" * 1_000, '"x\n",' * 500])
def test_csv_row_beyond_the_limit_ends_reading(
    tmp_path: Path, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "MAX_ROW_BYTES", 1_000)
    path = write(tmp_path / "a.csv", "context,answer\n" + "a,b\n" * 999 + row)
    outcomes = read_passages(path, 1)
    assert sum(1 for _ in islice(outcomes, 999)) == 999
    with pytest.raises(InputError, match=r"line 1001 is longer than .* close its quotes"):
        next(outcomes)


# ---- CSV and Parquet


def test_table_without_the_needed_columns_is_refused(tmp_path: Path) -> None:
    table = pa.table({"context": ["段"], "title": ["落"]})
    pq.write_table(table, tmp_path / "a.parquet")
    write(tmp_path / "a.csv", "context;title\na;b\n")
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


def reasons_of(path: Path) -> list[Reason | None]:
    return [reason_of(outcome) for outcome in read(path)]


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
def test_parquet_value_that_python_does_not_know_is_no_id(
    tmp_path: Path, strange: pa.Array
) -> None:
    columns = {"context": ["段"] * 2, "answer": ["落"] * 2}
    ids = pa.concat_arrays([pa.nulls(1, strange.type), strange])
    pq.write_table(pa.table({**columns, "id": ids}), tmp_path / "a.parquet")
    first, second = read(tmp_path / "a.parquet")
    assert isinstance(second, Passage)
    assert second.id == first.id  # derived from the content


@pytest.mark.parametrize(
    "long", [{"context": "a" * 1_100_000}, {"prompt_domain": ["a" * 600_000] * 2}]
)
def test_row_of_parquet_beyond_the_limit_ends_reading(
    tmp_path: Path, long: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "MAX_ROW_BYTES", 1 << 20)
    good = {**ROW, "prompt_common": "a", "prompt_domain": ["a"]}
    rows = [good, {**good, **long}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="row 1 is longer than 1 MiB"):
        read(tmp_path / "a.parquet", template=4)


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_cut_parquet_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 10), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match=r"cannot be read: .*copy it again"):
        read(path)


def test_parquet_with_damaged_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 10), path, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="failed after"):
        read(path)


def test_parquet_with_a_damaged_footer_is_refused_or_gives_every_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 59), path)
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    counts = [
        at for at in range(footer, len(data) - 8) if data[at] == 2 * 59
    ]  # the zigzag varint of 59
    refused = 0
    for bit in (8 * at + shift for at in counts for shift in range(8)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert len(read(write(path, bytes(flipped)))) == 59
        except InputError:
            refused += 1
    assert refused > 16  # at least the row counts of the file and of its row group


def test_parquet_with_a_column_that_has_no_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{**ROW, "qqqq": 1}]), path, store_schema=False)
    write(path, path.read_bytes().replace(b"qqqq", b"q\xffqq"))
    with pytest.raises(InputError, match="cannot be read: 'utf-8' codec"):
        read(path)
