import csv
import json
import tracemalloc
from collections.abc import Iterator
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


@in_a_folder
@given(st.lists(st.one_of(JSON.map(json.dumps), st.text('{}[]",:\\a1长 \t\ud800', max_size=9))))
def test_every_line_that_is_not_blank_gives_one_outcome(tmp_path: Path, lines: list[str]) -> None:
    data = "\n".join(lines).encode(errors="surrogatepass")
    path = write(tmp_path / "a.jsonl", jsonl(ROW).encode() + data)
    outcomes = read(path)
    expected = [at for at, line in enumerate(lines, 2) if line.strip()]
    assert [outcome.row for outcome in outcomes] == list(range(len(expected) + 1))
    assert [outcome.line for outcome in outcomes] == [1, *expected]


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


def test_table_without_the_needed_columns_is_refused(tmp_path: Path) -> None:
    table = pa.table({"context": ["段"], "title": ["落"]})
    pq.write_table(table, tmp_path / "a.parquet")
    write(tmp_path / "a.csv", "context;answer\na;b\n")
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(InputError, match="it needs `context` and `answer`"):
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
    reasons = [reason_of(outcome) for outcome in read(tmp_path / "a.parquet")]
    assert reasons == [None, Reason.INVALID_TEXT, None]


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


# ---- files


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_file_without_rows_is_refused(tmp_path: Path, name: str) -> None:
    for content in ("", "\ufeff", " \n\n"):
        with pytest.raises(InputError, match="has no rows"):
            read(write(tmp_path / name, content))


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
    write(tmp_path / "a.jsonl", jsonl(ROW).encode("utf-16"))
    for name, message in {
        "folder.json": "is a folder",
        "a.txt": "unknown kind; .* reads .jsonl, .json, .csv, .parquet",
        "none.jsonl": "does not exist",
        "a.jsonl": "UTF-16; save it as UTF-8",
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
    row = json.dumps({**ROW, "context": "长" * 1000})
    for name, text in {
        "a.jsonl": (row + "\n") * 500,
        "a.json": "[" + ",".join([row] * 500) + "]",
    }.items():
        path = write(tmp_path / name, text)
        tracemalloc.start()
        count = sum(1 for _ in read_passages(path, 1))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 500
        assert peak < 1 << 20 < 2 << 20 < path.stat().st_size
