import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import InputError
from tasks.passages import limits
from tasks.passages.formats import json_arrays
from tasks.passages.records import Passage, Reason, Reject
from tests.support.passage_texts import JSON, ROW, in_a_folder, jsonl, read, reason_of, write

# ---- lines


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
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", 1 << 20)
    text = jsonl({**ROW, "context": "长" * 400_000})
    for name in ("a.jsonl", "b.json"):
        path = write(tmp_path / name, text if name == "a.jsonl" else f"[{text}]")
        with pytest.raises(InputError, match="line 1 is longer than 1 MiB"):
            read(path)


def is_blank_row(line: str) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False
    pairs = ({"context", "answer"}, {"source", "title"})
    names = set(row) if isinstance(row, dict) else set()
    has_pair = next((pair <= names for pair in pairs if pair & names), False)
    return has_pair and all(
        one is None or one != one or (isinstance(one, str) and not one.strip())
        for one in row.values()
    )


def may_begin_another_shape(line: str) -> bool:
    return line.strip() in {"{", "[", "[{"} or (line.startswith("[") and "{" in line)


LINE = st.one_of(JSON.map(json.dumps), st.text('{}[]",:\\a1长 \t\ud800', max_size=9))


@in_a_folder
@given(st.lists(LINE.filter(lambda line: not may_begin_another_shape(line))))
def test_every_line_that_is_not_blank_gives_an_outcome(tmp_path: Path, lines: list[str]) -> None:
    data = "\n".join(lines).encode(errors="surrogatepass")
    path = write(tmp_path / "a.jsonl", jsonl(ROW).encode() + data)
    outcomes = read(path)
    expected = [at for at, line in enumerate(lines, 2) if line.strip() and not is_blank_row(line)]
    assert [outcome.row for outcome in outcomes] == list(range(len(outcomes)))
    # a line such as {}{} has two rows
    assert list(dict.fromkeys(outcome.line for outcome in outcomes)) == [1, *expected]
    # no control sequences for a terminal or a log
    assert all(outcome.detail.isprintable() for outcome in outcomes if isinstance(outcome, Reject))


def test_objects_on_one_line_are_rows_of_their_own(tmp_path: Path) -> None:
    one, other = json.dumps({**ROW, "id": 1}), json.dumps({**ROW, "id": "}{"})
    for between in ("", " ", "\t", "\ufeff"):
        path = write(tmp_path / "a.jsonl", f"{one}{between}{other}\n\n{other}{between}{one}")
        outcomes = read(path)
        assert [outcome.id for outcome in outcomes] == ["1", "}{", "}{", "1"]
        assert [outcome.line for outcome in outcomes] == [1, 1, 3, 3]
        assert [outcome.row for outcome in outcomes] == [0, 1, 2, 3]
    array = read(write(tmp_path / "a.json", f"[{one}{other},\n{one}]"))
    assert [outcome.id for outcome in array] == ["1", "}{", "1"]


TWICE = {
    '{"context": "a", "context": "b", "answer": "x"}': "`context` is given more than once",
    '{"context": "a", "answer": "x", "answer": "x"}': "`answer` is given more than once",
    '{"id": 1, "context": "a", "answer": "x", "id": 2}': "`id` is given more than once",
    '{"context": "a", "answer": "x", "question": "q", "question": ""}': "`question` is given more",
    '{"context": "a", "answers": [{"text": "x", "text": "y"}]}': "`text` is given more than once",
    '{"context": "a", "answers": ["x"], "answers": ["y"]}': "`answers` is given more than once",
    '{"context": "a", "qas": [{"answers": ["x"]}], "qas": []}': "`qas` is given more than once",
    '{"paragraphs": [], "paragraphs": []}': "`paragraphs` is given more than once",
}


@pytest.mark.parametrize(("text", "detail"), TWICE.items())
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_field_that_a_row_has_twice_costs_the_row(
    tmp_path: Path, text: str, detail: str, name: str
) -> None:
    rows = [jsonl(ROW).strip(), text]
    whole = "\n".join(rows) if name == "a.jsonl" else f"[{','.join(rows)}]"
    good, bad = read(write(tmp_path / name, whole))
    assert isinstance(good, Passage)
    assert isinstance(bad, Reject)
    assert (bad.reason, detail in bad.detail) == (Reason.REPEATED_FIELD, True), bad


def test_only_the_question_that_has_a_field_twice_is_rejected(tmp_path: Path) -> None:
    questions = ['{"id": "1", "answers": ["x"]}', '{"id": "2", "id": "3", "answers": ["y"]}']
    text = f'{{"data": [{{"paragraphs": [{{"context": "a", "qas": [{",".join(questions)}]}}]}}]}}'
    good, bad = read(write(tmp_path / "a.json", text))
    assert (good.id, reason_of(bad)) == ("1", Reason.REPEATED_FIELD)


def test_a_field_that_is_not_read_may_be_there_twice(tmp_path: Path) -> None:
    text = '{"context": "a", "answer": "x", "meta": {"a": 1, "a": 2}, "url": 1, "url": 2}'
    (row,) = read(write(tmp_path / "a.jsonl", text))
    assert isinstance(row, Passage)


@pytest.mark.parametrize("rest", ["x", ",{}", "[]", '{"a": 1', "1"])
def test_a_line_that_is_more_than_objects_is_one_reject(tmp_path: Path, rest: str) -> None:
    good = jsonl(ROW)
    path = write(tmp_path / "a.jsonl", good + good.strip() + rest + "\n" + good)
    assert [reason_of(one) for one in read(path)] == [None, Reason.NOT_JSON, None]


def test_lines_may_end_with_carriage_returns_only(tmp_path: Path) -> None:
    text = jsonl({**ROW, "id": 1}, {**ROW, "id": 2}, {**ROW, "id": 3}).replace("\n", "\r")
    for name in ("a.jsonl", "a.json"):
        outcomes = read(write(tmp_path / name, text.replace("2", "nonsense")))
        assert [(one.line, reason_of(one)) for one in outcomes] == [
            (1, None),
            (2, Reason.NOT_JSON),
            (3, None),
        ]


def test_a_byte_order_mark_may_begin_any_line(tmp_path: Path) -> None:
    outcomes = read(write(tmp_path / "a.jsonl", ("\ufeff" + jsonl(ROW)) * 3))
    assert [type(one) for one in outcomes] == [Passage] * 3


def test_rows_of_empty_values_are_no_rows(tmp_path: Path) -> None:
    blank = [{**dict.fromkeys(ROW, value), "id": None} for value in (None, "", " ", float("nan"))]
    rows = [*blank, {**ROW, "id": 1}, *blank, {"context": ""}, {**blank[0], "id": 7}, {}]
    expected = [None, Reason.EMPTY_FIELD, Reason.MISSING_FIELD, Reason.MISSING_FIELD]
    as_lines = read(write(tmp_path / "a.jsonl", jsonl(*rows)))
    as_array = read(write(tmp_path / "a.json", json.dumps(rows)))
    for outcomes in (as_lines, as_array):
        assert [reason_of(one) for one in outcomes] == expected
        assert [one.row for one in outcomes] == [0, 1, 2, 3]


@pytest.mark.parametrize("depth", [100, 900, 2000, 100_000])
@pytest.mark.parametrize("place", ["id", "question", "context", "other"])
def test_deep_nesting_ends_nothing(tmp_path: Path, depth: int, place: str) -> None:
    row = jsonl(ROW).strip()[:-1] + f', "{place}": ' + "[" * depth + "]" * depth + "}\n"
    outcomes = read(write(tmp_path / "a.jsonl", jsonl(ROW) + row + jsonl(ROW)))
    assert [type(one) for one in (outcomes[0], outcomes[2])] == [Passage] * 2
    assert len(outcomes) == 3


# ---- arrays


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
        patch.setattr(json_arrays, "_PIECE_BYTES", piece)  # cuts through every kind of token
        elements = [json.loads(data) for _, data in json_arrays.array_elements(path, file, False)]
    assert json.dumps(elements) == json.dumps(rows)


@pytest.mark.parametrize("piece", range(1, 30))
def test_escape_is_understood_across_pieces(
    tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_arrays, "_PIECE_BYTES", piece)
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
        ("[1] 2", "continues after the array"),
    ],
)
def test_broken_array_ends_reading_and_names_the_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "a.json", text))
