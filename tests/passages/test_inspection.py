"""What the look at the beginning of a file says, before any of its rows is read."""

import codecs
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.config.settings import FieldSettings
from tasks.findings import Finding
from tasks.passages.input import Input
from tasks.passages.inspection import START_BYTES, find_layout
from tasks.passages.layout import Layout
from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reason, Reject
from tests.support.passage_texts import ROW, jsonl, read, reason_of, write

PAIRS = [
    ("长城始建于春秋战国时期，明长城东起鸭绿江。", "鸭绿江"),
    ("维纳恩湖位于瑞典。洪泽湖位于中国江苏省。", "瑞典"),
]
CSV = "context,answer\n" + "".join(f"{context},{answer}\n" for context, answer in PAIRS)
LINES = jsonl(*({"context": context, "answer": answer} for context, answer in PAIRS))


def fault_of(path: Path, encoding: str | None = None, **names: str) -> str:
    found = find_layout(path, 1, encoding, FieldSettings(**names))
    assert isinstance(found, Finding)
    assert found.remedy
    return str(found)


def layout_of(path: Path, encoding: str | None = None, **names: str) -> Layout:
    found = find_layout(path, 1, encoding, FieldSettings(**names))
    assert isinstance(found, Layout), found
    return found


def decided(path: Path, encoding: str | None = None) -> tuple[str, dict[str, object]]:
    """What identifies the rows besides the bytes."""
    layout = layout_of(path, encoding)
    return layout.kind, layout.find_deviations()


def pairs_in(path: Path, encoding: str | None = None, **names: str) -> list[tuple[str, str]]:
    outcomes = read_passages(path, 1, encoding, FieldSettings(**names))
    return [(one.context, one.answer) for one in outcomes if isinstance(one, Passage)]


# ---- encodings


ENGLISH = "The Great Wall is in China.,China\n"
BIG5 = "context,answer\n萬里長城位於中國北方，全長兩萬多公里。,中國\n"


@pytest.mark.parametrize(
    ("name", "text", "encoding", "words"),
    [
        ("a.csv", CSV, "gb18030", "GB18030 (Excel's CSV in Chinese)"),
        ("a.csv", CSV + ENGLISH, "gb18030", "GB18030"),
        ("a.csv.gz", CSV, "gb18030", "GB18030"),
        ("a.jsonl", LINES, "gb18030", "GB18030"),
        ("a.json", f"[{LINES.strip().replace(chr(10), ',')}]", "gb18030", "GB18030"),
        (
            "a.csv",
            CSV + "长" * START_BYTES + ",长\n",
            "gb18030",
            "GB18030",
        ),  # cut within a character
        ("a.csv", "context,answer\n长江很长,长江\n", "gb18030", "GB18030"),
        ("a.csv", BIG5, "big5", "Big5"),
    ],
    ids=range(8),
)
def test_another_encoding_is_named_and_read_if_it_is_set(
    tmp_path: Path, name: str, text: str, encoding: str, words: str
) -> None:
    data = text.encode(encoding)
    path = write(tmp_path / name, gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    fault = fault_of(path)
    assert f"{path} is not UTF-8, it looks like {words}" in fault
    assert f"set dataset.encoding: {encoding}" in fault
    expected = write(tmp_path / f"utf-8-{name.removesuffix('.gz')}", text)
    assert read_as(path, encoding) == read(expected)


def read_as(path: Path, encoding: str) -> list[Passage | Reject]:
    return list(read_passages(path, 1, encoding))


MARKED = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "gb18030": "\ufeff".encode("gb18030"),
}


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize(
    "text", [CSV, LINES, json.dumps(json.loads(f"[{LINES.strip().replace(chr(10), ',')}]"))]
)
def test_a_byte_order_mark_tells_the_encoding_whatever_is_set(
    tmp_path: Path, encoding: str, text: str
) -> None:
    suffix = ".csv" if text == CSV else ".json"
    path = write(tmp_path / f"a{suffix}", MARKED[encoding] + text.encode(encoding))
    plain = decided(write(tmp_path / f"b{suffix}", text))
    for given in (None, "utf-8", "gb18030", "utf-16"):
        assert pairs_in(path, given) == PAIRS
        assert decided(path, given) == plain


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_known_without_a_mark(tmp_path: Path, encoding: str) -> None:
    for name, text in (("a.csv", CSV), ("a.jsonl", LINES)):
        assert pairs_in(write(tmp_path / name, text.encode(encoding))) == PAIRS


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "latin-1"])
def test_utf_8_is_not_read_as_something_else(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.jsonl", LINES)
    assert f"dataset.encoding: {path} is UTF-8, not" in fault_of(path, encoding)


def test_a_given_encoding_that_is_wrong_is_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", CSV.encode("gb18030"))
    assert "is not ascii, it looks like GB18030" in fault_of(path, "ascii")


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le"])
def test_a_few_damaged_bytes_cost_their_row_only(tmp_path: Path, encoding: str) -> None:
    wrong = b"\x00\xd8" if encoding == "utf-16-le" else b"\xff"
    for name, start, end in (
        ("a.csv", "x,", "\n"),
        ("a.jsonl", '{"context": "x', '", "answer": 1}\n'),
    ):
        good = CSV if name == "a.csv" else LINES
        data = [part.encode(encoding) for part in (good, start, end)]
        path = write(tmp_path / name, data[0] + data[1] + wrong + data[2])
        outcomes = read_as(path, encoding)
        assert [reason_of(one) for one in outcomes] == [None, None, Reason.INVALID_TEXT]


def test_an_encoding_that_is_set_is_part_of_the_identity_unless_it_is_utf_8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "context,answer\na,b\n")
    plain = decided(path)
    assert plain == (".csv", {})
    assert decided(path, "utf-8-sig") == plain
    assert decided(path, "GBK") == (plain[0], {"encoding": "gbk"})


# ---- formats


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
def test_other_delimiters_are_known_by_the_header(tmp_path: Path, delimiter: str) -> None:
    assert pairs_in(write(tmp_path / "a.csv", CSV.replace(",", delimiter))) == PAIRS


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (LINES, ".jsonl"),
        ("\ufeff\n [" + LINES.strip().replace("\n", ",") + "]", ".json"),
        (CSV.replace(",", "\t"), ".csv"),
    ],
)
def test_content_tells_the_format_where_the_name_does_not(
    tmp_path: Path, text: str, kind: str
) -> None:
    for name in ("predict_file", "a.txt", "a.tsv", "日期"):
        path = write(tmp_path / name, text)
        assert (layout_of(path).kind, pairs_in(path)) == (kind, PAIRS)
        write(path, gzip.compress(text.encode(), mtime=0))
        assert (layout_of(path).kind, pairs_in(path)) == (f"{kind}.gz", PAIRS)
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "part-00000")
    assert layout_of(tmp_path / "part-00000").kind == ".parquet"


ZSTD = bytes(pa.Codec("zstd").compress(CSV.encode()))


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", LINES, ".jsonl"),
        ("a.jsonl", CSV, ".csv"),
        ("a.jsonl", f"[{LINES.strip().replace(chr(10), ',')}]", ".json"),
        ("a.jsonl", json.dumps(list(map(json.loads, LINES.splitlines())), indent=2), ".json"),
        ("a.csv", gzip.compress(LINES.encode(), mtime=0), ".jsonl.gz"),
        ("a.jsonl.gz", LINES, ".jsonl"),
        ("a.csv.gz", ZSTD, ".csv.zst"),
        ("a.csv.zst", ZSTD, ".csv.zst"),
        ("a.tsv", CSV.replace(",", "\t"), ".csv"),
        ("a.ndjson", LINES, ".jsonl"),
    ],
)
def test_the_content_decides_where_the_name_says_otherwise(
    tmp_path: Path, name: str, content: str | bytes, kind: str
) -> None:
    path = write(tmp_path / name, content)
    assert (layout_of(path).kind, pairs_in(path)) == (kind, PAIRS)


def test_a_format_that_is_set_overrules_name_and_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"x,answer\n长江很长。,长江\n')
    assert "it needs `context`" in str(find_layout(path, 1, None, None, "csv"))
    named = FieldSettings(context='{"x', answer="answer")
    (row,) = read_passages(path, 1, None, named, "csv")
    assert isinstance(row, Passage)
    assert (row.context, row.answer) == ("长江很长。", "长江")
    lines = write(tmp_path / "a.csv", LINES)
    assert isinstance(find_layout(lines, 1, None, None, "csv"), Finding)
    assert isinstance(find_layout(lines, 1, None, None, "parquet"), Finding)
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "a.parquet")
    told = find_layout(tmp_path / "a.parquet", 1, None, None, "jsonl")
    assert "dataset.format: " in str(told)
    assert "a.parquet is .parquet, not jsonl" in str(told)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", json.dumps(ROW, indent=2), "objects of several lines.*jq -c"),
        ("a.json", json.dumps(ROW, indent=2) + "\n" + json.dumps(ROW, indent=2), "several lines"),
        ("a.jsonl", "x,y\na,b\n", "is not JSON; its first line is 'x,y'.*correct its name"),
        ("a.csv", b"PK\x03\x04rest", "is an archive, or a damaged workbook"),
        ("a.xls", b"\xd0\xcf\x11\xe0rest", "is a workbook of the old format, or has a password"),
        ("a.parquet", CSV, "is not Parquet"),
        ("a.arrow", CSV, "is not Arrow"),
        ("a.feather", b"FEA1", "is Feather of version 1; write it as Parquet"),
        ("a.parquet", b"PAR1PAR1", "cannot be read: .*copy it again"),
        ("a.md", "# context\n", "has an unknown format; known: .jsonl"),
        ("a.jsonl", "nonsense\n", "is not JSON"),
        ("a.json", "[,1]", "line 1: a comma without a row"),
        (
            "a.csv.gz",
            gzip.compress(CSV.encode(), mtime=0)[:40],
            "cannot be read: Compressed file ended",
        ),
        ("a.csv.zst", ZSTD[:-4], "cannot be read: Truncated compressed stream"),
        ("a.jsonl", "\ufeff \n\n", "has no rows"),
        ("a.json", "[ ]", "has no rows"),
        ("a.csv", "context,answer\n,\n", "has no rows"),
    ],
)
def test_a_file_of_another_format_is_named(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = write(tmp_path / name, content)
    assert message.partition(".*")[0] in fault_of(path)
    assert message.rpartition(".*")[2] in fault_of(path)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    assert "URLs are not read; download it" in fault_of(Path("s3://bucket/a.jsonl"))
    assert f"{tmp_path}/x.csv: no such file" in fault_of(tmp_path / "shards" / ".." / "x.csv")


# ---- delimiters


def find_separated(path: Path, delimiter: str | None) -> Layout | Finding:
    return find_layout(path, delimiter=delimiter)


@pytest.mark.parametrize("delimiter", ["^", "\x01", "\t", ",", "、", " "])
@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_a_delimiter_that_is_named_separates_the_cells(
    tmp_path: Path, delimiter: str, name: str
) -> None:
    text = CSV.replace(",", delimiter)
    path = write(tmp_path / name, text)
    layout = find_separated(path, delimiter)
    assert isinstance(layout, Layout)
    rows = [row for row in read_passages(path, 1, delimiter=delimiter) if isinstance(row, Passage)]
    assert [(row.context, row.answer) for row in rows] == PAIRS
    is_found = delimiter in {"\t", ","}
    assert ("delimiter" in layout.find_deviations()) is not is_found
    assert isinstance(find_separated(path, None), Layout) is is_found


def test_a_delimiter_that_is_not_found_or_not_right_is_told(tmp_path: Path) -> None:
    unknown = write(tmp_path / "a.csv", CSV.replace(",", "^"))
    told = str(find_separated(unknown, None))
    assert "has only one column, 'context^answer" in told
    assert "name it with dataset.delimiter" in told
    tabs = write(tmp_path / "b.csv", CSV.replace(",", "\t"))
    told = str(find_separated(tabs, ";"))
    assert told.startswith("dataset.delimiter: the cells of ")
    assert "are separated by tabs, not semicolons; leave it out" in told
    told = str(Input.find(write(tmp_path / "a.jsonl", LINES), delimiter=","))
    assert "a.jsonl is .jsonl, which has no delimiter" in told


def test_the_delimiter_and_the_encoding_that_were_found_are_told(tmp_path: Path) -> None:
    tabs = Input.find(write(tmp_path / "a.csv", CSV.replace(",", "\t").encode("utf-16")))
    assert isinstance(tabs, Input)
    assert tabs.describe().endswith(", separated by tabs, in utf-16-le")
    usual = Input.find(write(tmp_path / "b.csv", CSV))
    assert isinstance(usual, Input)
    assert "separated" not in usual.describe()


# ---- columns and fields


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.parquet"])
def test_other_columns_are_refused_at_once_and_read_if_they_are_named(
    tmp_path: Path, name: str
) -> None:
    rows = [{"passage": context, "ans": answer, "doc": 1.0} for context, answer in PAIRS]
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name == "a.csv":
        write(path, CSV.replace("context,answer", "passage,ans"))
    else:
        write(path, jsonl(*rows) if name == "a.jsonl" else json.dumps(rows, indent=1))
    fault = fault_of(path)
    assert "['passage', 'ans'" in fault
    assert "it needs `context` and `answer`" in fault
    assert "dataset.fields={context: passage, answer: ans}" in fault
    assert pairs_in(path, context="passage", answer="ans") == PAIRS
    for names in ({"context": "passage"}, {"context": "passage", "answer": "ans", "id": "no"}):
        assert fault_of(path, **names).startswith("dataset.fields: ")


def test_passages_without_answers_are_told_so(tmp_path: Path) -> None:
    told = fault_of(write(tmp_path / "a.jsonl", jsonl({"context": "长江", "question": "？"})))
    assert "passages without answers, and a question asks for an answer; add `answer`" in told


def test_template_4_needs_its_prompts(tmp_path: Path) -> None:
    for name, text in (("a.csv", CSV), ("a.jsonl", LINES)):
        found = find_layout(write(tmp_path / name, text), 4)
        assert "no `prompt_common`, which template 4 needs" in str(found)


@pytest.mark.parametrize("column", [[1, 2], [[1], []], [{"a": 1}, None], [None, None]])
def test_a_column_that_holds_no_text_is_refused(tmp_path: Path, column: list[object]) -> None:
    table = pa.table({"context": ["长江", "河"], "answer": column})
    pq.write_table(table, tmp_path / "a.parquet")
    assert "the column `answer` is" in fault_of(tmp_path / "a.parquet")


def test_both_pairs_are_a_choice_that_is_told(tmp_path: Path) -> None:
    row = {"source": "baike", "title": "长城", "context": PAIRS[0][0], "answer": PAIRS[0][1]}
    path = write(tmp_path / "a.jsonl", jsonl(row))
    layout = layout_of(path)
    assert pairs_in(path) == PAIRS[:1]
    assert layout.describe() == "context from `context`, answer from `answer`"
    choice = layout.find_choice("a.jsonl")
    assert choice is not None
    assert choice.severity == "warning"
    assert "context from `context`, answer from `answer`, although it has `source`, `title`" in str(
        choice
    )
    assert pairs_in(path, context="source", answer="title") == [("baike", "长城")]
    assert layout_of(path, context="source", answer="title").find_choice("a.jsonl") is None


def test_only_the_beginning_decides(tmp_path: Path) -> None:
    good = jsonl(ROW) * (START_BYTES // len(jsonl(ROW).encode()) + 1)
    late = write(tmp_path / "late.jsonl", good + jsonl({"passage": "x"}))
    assert [reason_of(one) for one in read(late)][-1] is Reason.MISSING_FIELD
    long = write(tmp_path / "long.jsonl", jsonl({**ROW, "context": "长" * START_BYTES}, {"x": 1}))
    assert [reason_of(one) for one in read(long)] == [None, Reason.MISSING_FIELD]
    array = write(tmp_path / "a.json", json.dumps([ROW] * (START_BYTES // 60), indent=1))
    assert layout_of(array).names == tuple(ROW)
