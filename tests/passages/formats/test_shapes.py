"""A file that mixes shapes is told at the first row that differs; single bad rows are rejects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.errors import InputError
from tasks.passages.inspection import find_layout
from tasks.passages.layout import Layout
from tests.support.passage_texts import ROW, jsonl, read, reason_of, write

ROWS = jsonl(*[ROW] * 3)
ARTICLE = {
    "title": "江",
    "paragraphs": [{"context": "长江", "qas": [{"id": "1", "answers": ["长江"]}]}],
}
MIXED = {
    "an array on one line": (ROWS + jsonl([ROW, ROW]), 1, 4, "is a list of rows"),
    "an array of several lines": (
        ROWS + json.dumps([ROW, ROW], indent=1),
        1,
        4,
        "begins a value of several lines",
    ),
    "objects of several lines": (
        ROWS + json.dumps(ROW, indent=1) + "\n" + jsonl(ROW),
        1,
        4,
        "begins a value of several lines",
    ),
    "objects after arrays": (jsonl([ROW], [ROW], ROW), 1, 3, "is one row"),
    "after damaged rows": ('"x"\n{"context\n' + ROWS + jsonl([ROW]), 3, 6, "is a list of rows"),
}


@pytest.mark.parametrize(("text", "first", "line", "what"), MIXED.values(), ids=list(MIXED))
def test_the_first_row_of_another_shape_is_told_in_the_first_second(
    tmp_path: Path, text: str, first: int, line: int, what: str
) -> None:
    path = write(tmp_path / "a.jsonl", text)
    said = (
        f"{path} mixes shapes: line {first} is .*, and line {line} {what}; write one object a line"
    )
    with pytest.raises(InputError, match=said):
        read(path)
    assert not isinstance(find_layout(path), Layout)


def test_another_shape_that_begins_late_ends_reading(tmp_path: Path) -> None:
    text = ROWS * 1000
    path = write(tmp_path / "a.jsonl", text + jsonl([ROW]))
    assert isinstance(find_layout(path), Layout)
    with pytest.raises(InputError, match="line 3001 is a list of rows"):
        read(path)


def test_an_array_mixes_shapes_like_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps([ROW, [ROW], ROW], indent=1))
    with pytest.raises(InputError, match="line 6 is a list of rows"):
        read(path)


def test_what_follows_an_array_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps([ROW], indent=1) + "\n" + ROWS)
    with pytest.raises(InputError, match="continues after the array that ends near line 2"):
        read(path)


@pytest.mark.parametrize("bad", ['"text"', "[1, 2]", "[]", "3", "{", "[", '["a"]', "[{}]"])
def test_single_bad_rows_are_rejects(tmp_path: Path, bad: str) -> None:
    outcomes = read(write(tmp_path / "a.jsonl", f"{ROWS}{bad}\n{ROWS}"))
    good = [one for one in outcomes if reason_of(one) is None]
    assert len(good) == 6
    assert len(outcomes) > len(good)


def test_lists_of_rows_on_every_line_are_told_as_such(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", jsonl([ROW], [ROW, ROW]))
    with pytest.raises(InputError, match="has a list on each line"):
        read(path)


def test_articles_among_flat_rows_are_read_as_what_they_are(tmp_path: Path) -> None:
    records = [ROW, ARTICLE, ROW]
    for text in (jsonl(*records), json.dumps(records, indent=1)):
        outcomes = read(write(tmp_path / "a.json", text))
        assert [reason_of(one) for one in outcomes] == [None] * 3
        assert outcomes[1].id == "1"
