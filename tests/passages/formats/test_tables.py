import csv
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.settings import FieldSettings
from tasks.errors import InputError
from tasks.passages import limits
from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reason, Reject
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


GOOD = [f"第{number}段,落" for number in range(4)]
SPANS = {
    "a quote that the next lines end": (
        [*GOOD[:2], '"甲,乙', GOOD[2], '丙"丁"戊,己', GOOD[3]],
        {4},
    ),
    "a quote at the end of the file": ([*GOOD[:2], '"甲,乙', *GOOD[2:]], {4}),
    "a quote in the last line": ([*GOOD, '"甲,乙'], {6}),
    "a quote in the last cell": ([*GOOD[:2], '甲,"乙', GOOD[2], '"丙"丁,戊', GOOD[3]], {4, 6}),
    "quotes in neighbors": ([*GOOD[:2], '"甲,乙', '"丙,丁', *GOOD[2:]], {4, 5}),
    "a quote before a cell of several lines": (
        [*GOOD[:2], '"甲,乙', GOOD[2], '"第一行', '第二行",丙', GOOD[3]],
        {4},
    ),
}


@pytest.mark.parametrize("case", SPANS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n\r\n"])
def test_csv_quote_that_is_not_closed_costs_its_own_line_only(
    tmp_path: Path, case: str, end: str
) -> None:
    lines, wrong = SPANS[case]
    outcomes = read(write(tmp_path / "a.csv", "context,answer\n" + "\n".join(lines) + end))
    rejects = {one.line for one in outcomes if isinstance(one, Reject)}
    assert rejects == wrong
    assert all(one.last_line is None for one in outcomes if isinstance(one, Reject))
    kept = [f"{one.context},{one.answer}" for one in outcomes if isinstance(one, Passage)]
    assert [text for text in kept if text in GOOD] == GOOD


def test_csv_cell_of_several_lines_is_one_row_with_the_numbers_of_its_lines(tmp_path: Path) -> None:
    text = 'context,answer\n"甲，乙\n丙。","丁"\n戊,己\n"庚\n辛\n壬",癸,子\n"丑\n寅" 卯,辰\n巳,午\n'
    first, second, third, fourth, last = read(write(tmp_path / "a.csv", text))
    assert (first.line, first.last_line) == (2, 3)
    assert (second.line, second.last_line) == (4, None)
    assert isinstance(third, Reject)
    assert (third.line, third.last_line) == (5, 7)
    assert third.detail.startswith("lines 5 to 7: the row has 3 cells, the header 2")
    assert isinstance(fourth, Reject)
    assert fourth.detail.startswith("lines 8 to 9: the row is not CSV")
    assert (type(last), last.line) == (Passage, 10)


@in_a_folder
@given(st.lists(st.text('"甲,\n', max_size=9), max_size=6))
def test_csv_accounts_for_every_line_whatever_its_quotes(tmp_path: Path, lines: list[str]) -> None:
    path = write(tmp_path / "a.csv", "context,answer\na,b\n" + "\n".join(lines))
    try:
        outcomes = read(path)
    except InputError as error:
        assert "has no end" in str(error)  # noqa: PT017
        return
    assert [one.row for one in outcomes] == list(range(len(outcomes)))
    covered = [
        number
        for one in outcomes
        if one.line is not None
        for number in range(one.line, (one.last_line or one.line) + 1)
    ]
    text = path.read_text(encoding="utf-8").split("\n")
    not_blank = [at for at, line in enumerate(text, 1) if line.strip(' ,"')]
    assert len(set(covered)) == len(covered)
    assert set(not_blank) - {1} <= set(covered)


@pytest.mark.parametrize("rows", [",\n", ",,\n \t,\u3000\n", '"",""\n', "\n,\n\n"])
def test_csv_rows_of_empty_cells_are_no_rows(tmp_path: Path, rows: str) -> None:
    text = f"context,answer\n{rows}段,落\n{rows}段,落\n{rows}"
    outcomes = read(write(tmp_path / "a.csv", text))
    assert [(one.row, type(one)) for one in outcomes] == [(0, Passage), (1, Passage)]
    assert outcomes[1].line == text[: text.rindex("段")].count("\n") + 1


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
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", 1_000)
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


def test_the_header_of_another_file_is_no_row(tmp_path: Path) -> None:
    text = "context,answer\n长江,江\n"
    one, header, other = read(write(tmp_path / "a.csv", text + text))
    assert [reason_of(one), reason_of(other)] == [None, None]
    assert (reason_of(header), header.line) == (Reason.NOT_CSV, 3)


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
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", 1 << 20)
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


BINARY = pa.array(["长江很长。".encode(), "河".encode()], pa.binary())


@pytest.mark.parametrize(
    "contexts",
    [
        BINARY,
        BINARY.cast(pa.large_binary()),
        BINARY.cast(pa.string()).cast(pa.large_string()),
        BINARY.cast(pa.string()).dictionary_encode(),
    ],
)
def test_parquet_text_of_any_type_is_read(tmp_path: Path, contexts: pa.Array) -> None:
    table = pa.table({"context": contexts, "answer": contexts, "id": contexts})
    pq.write_table(table, tmp_path / "a.parquet")
    outcomes = read(tmp_path / "a.parquet")
    assert [one.id for one in outcomes] == ["长江很长。", "河"]
    assert [one.context for one in outcomes if isinstance(one, Passage)] == ["长江很长。", "河"]


def test_parquet_binary_that_is_not_utf8_costs_one_row(tmp_path: Path) -> None:
    table = pa.table({"context": [b"a", b"\xff", b"a"], "answer": ["x"] * 3, "id": [b"\xff"] * 3})
    pq.write_table(table, tmp_path / "a.parquet")
    assert reasons_of(tmp_path / "a.parquet") == [None, Reason.INVALID_TEXT, None]


def test_parquet_ids_of_any_type_are_read(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "context": ["段"] * 2,
            "answer": ["落"] * 2,
            "number": [1, None],
            "day": [pd.Timestamp("2026-11-28"), pd.NaT],
            "text": ["x", None],
            "answers": [["x", "y"], []],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    for name, expected in (
        ("number", "1"),
        ("day", "2026-11-28 00:00:00"),
        ("text", "x"),
        ("answers", "x"),
    ):
        fields = FieldSettings(id=name, reference=name)
        first, second = read_passages(tmp_path / "a.parquet", 1, None, fields)
        assert isinstance(first, Passage)
        assert isinstance(second, Passage)
        assert (first.id, first.reference) == (expected, expected)
        assert (second.id[:7], second.reference) == ("sha256-", None)


def test_parquet_rows_are_blank_only_if_every_column_is(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "context": ["段", None, None, None, "段"],
            "answer": ["落", None, "", None, "落"],
            "page": [1, None, None, 4, 5],
            "note": ["", None, " ", None, ""],
        }
    )
    path = tmp_path / "a.parquet"
    frame.to_parquet(path, row_group_size=2)
    assert [(one.row, reason_of(one)) for one in read(path)] == [
        (0, None),
        (1, Reason.MISSING_FIELD),
        (2, None),
    ]
    frame[["context", "answer"]].to_parquet(path)
    assert reasons_of(path) == [None, None]
    blank = pd.DataFrame({"context": ["段"] + [None] * 200, "answer": ["落"] + [None] * 200})
    blank["page"] = [None] * 200 + [1.0]  # beyond the first batch
    blank.to_parquet(path)
    assert reasons_of(path) == [None, Reason.MISSING_FIELD]
