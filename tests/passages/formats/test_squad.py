"""Nested JSON of SQuAD and its kin, and rows with several answers."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.config.settings import FieldSettings
from tasks.errors import InputError
from tasks.passages.fields import BY_NAME
from tasks.passages.formats.squad import flatten, is_wrapped
from tasks.passages.inspection import START_BYTES, find_layout
from tasks.passages.layout import Layout
from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reason, Reject
from tests.support.passage_texts import jsonl, read, write

RIVER, WALL = "长江是中国最长的河流，全长约6300公里。", "长城始建于春秋战国时期。"


def qa(number: str, *answers: str, **more: object) -> dict[str, object]:
    found = [{"text": one, "answer_start": 0} for one in answers]
    return {"id": number, "question": f"问{number}？", "answers": found, **more}


SQUAD: dict[str, Any] = {
    "version": "v2.0",
    "data": [
        {
            "title": "长江",
            "paragraphs": [
                {"context": RIVER, "qas": [qa("1", "长江", "长江", "6300公里"), qa("2")]},
                {"context": WALL, "qas": [qa("3", "长城")]},
            ],
        },
        {"title": "空", "paragraphs": []},
        {"title": "长城", "paragraphs": [{"context": WALL, "id": "p9", "qas": [qa("4", "春秋")]}]},
    ],
}
EXPECTED = [
    ("1", RIVER, "长江", "问1？"),
    ("1", RIVER, "6300公里", "问1？"),
    ("2", None, None, None),
    ("3", WALL, "长城", "问3？"),
    ("4", WALL, "春秋", "问4？"),
]


def shown(outcomes: list[Passage | Reject]) -> list[tuple[str | None, ...]]:
    assert [one.row for one in outcomes] == list(range(len(outcomes)))
    return [
        (one.id, None, None, None)
        if isinstance(one, Reject)
        else (one.id, one.context, one.answer, one.reference)
        for one in outcomes
    ]


ONE = json.dumps(SQUAD, ensure_ascii=False)


@pytest.mark.parametrize("name", ["f.json", "f.jsonl", "f"])
def test_objects_with_data_may_be_lines(tmp_path: Path, name: str) -> None:
    plain = json.dumps({"id": "p", "context": WALL, "answer": "春秋"}, ensure_ascii=False)
    path = write(tmp_path / name, f"{ONE}\n{ONE}\n{plain}\n".encode())
    assert [one.id for one in read(path)] == [*(["1", "1", "2", "3", "4"] * 2), "p"]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(SQUAD, indent=1) * 2,
        json.dumps(SQUAD, indent=1) + "\nrubbish",
        ONE.removesuffix("}"),
        ONE.removesuffix("}") + ', "data": []}',
    ],
    ids=["joined", "rubbish", "unfinished", "repeated"],
)
def test_nothing_is_left_unread_behind_data(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="is not one object whose `data` ends near line"):
        read(write(tmp_path / "f.json", text.encode()))


@pytest.mark.parametrize("level", ["data", "paragraphs", "qas"])
def test_a_list_of_other_things_than_objects_is_no_level(tmp_path: Path, level: str) -> None:
    rows = [{"id": "1", level: ["x", "y"], "context": WALL}, {"context": WALL, "answer": "春秋"}]
    first, second = read(write(tmp_path / "f.jsonl", jsonl(*rows)))
    assert isinstance(first, Reject)
    assert (first.reason, first.id) == (Reason.MISSING_FIELD, "1")
    assert isinstance(second, Passage)


@pytest.mark.parametrize("level", ["data", "paragraphs"])
def test_a_row_without_an_answer_is_no_empty_article(tmp_path: Path, level: str) -> None:
    rows = [{"context": RIVER, level: []}, {"context": WALL, "answer": "春秋"}]
    assert len(read(write(tmp_path / "f.jsonl", jsonl(*rows)))) == 2


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "squad", "a.csv"])
def test_each_distinct_answer_of_a_question_is_a_row(
    tmp_path: Path, name: str, indent: int | None
) -> None:
    text = json.dumps(SQUAD, ensure_ascii=False, indent=indent)
    outcomes = read(write(tmp_path / name, text))
    assert shown(outcomes) == EXPECTED
    (reject,) = (one for one in outcomes if isinstance(one, Reject))
    assert reject.reason is Reason.NO_ANSWER
    assert reject.detail == "`answers` is empty: there is no answer to ask for"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_articles_may_be_lines_or_an_array(tmp_path: Path, name: str) -> None:
    articles = SQUAD["data"]
    text = jsonl(*articles) if name == "a.jsonl" else json.dumps(articles)
    assert shown(read(write(tmp_path / name, text))) == EXPECTED


def test_a_line_is_that_on_which_its_article_starts(tmp_path: Path) -> None:
    text = json.dumps(SQUAD, ensure_ascii=False, indent=2)
    lines = [one.line for one in read(write(tmp_path / "a.json", text))]
    first = [text[: text.index(f'"title": "{title}"')].count("\n") for title in ("长江", "长城")]
    assert lines == [first[0]] * 4 + [first[1]]


def test_an_article_that_is_longer_than_the_look_at_the_file_is_read(tmp_path: Path) -> None:
    context = "段" * START_BYTES
    article = {"title": "a", "paragraphs": [{"context": context, "qas": [qa("1", "段")]}]}
    path = write(tmp_path / "a.json", json.dumps({"version": 1.1, "data": [article] * 2}))
    assert [one.id for one in read(path)] == ["1", "1"]


def test_cmrc_as_it_was_published_first_is_read(tmp_path: Path) -> None:
    paragraph = {
        "context_id": "TRIAL_800",
        "context_text": RIVER,
        "title": "长江",
        "qas": [{"query_id": "T_1", "query_text": "问？", "answers": ["长江", "中国", "长江"]}],
    }
    outcomes = read(write(tmp_path / "cmrc.json", json.dumps([paragraph], indent=1)))
    assert shown(outcomes) == [("T_1", RIVER, "长江", "问？"), ("T_1", RIVER, "中国", "问？")]


def test_a_damaged_article_costs_its_rows_and_a_truncated_file_is_refused(tmp_path: Path) -> None:
    text = json.dumps(SQUAD, ensure_ascii=False)
    damaged = text.replace('"title": "空"', '"title": 空')
    outcomes = read(write(tmp_path / "a.json", damaged))
    assert [one.reason for one in outcomes if isinstance(one, Reject)] == [
        Reason.NO_ANSWER,
        Reason.NOT_JSON,
    ]
    with pytest.raises(InputError, match="has no end; repair the array"):
        read(write(tmp_path / "b.json", text[:-20]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"version": "v1", "data": [', True),
        ('{"data":[{"a', True),
        ('{"version": 1.1,\n "data"\n: [', True),
        ('{"context": "a", "answer": "b"}', False),
        ('{"meta": {"data": [1]}, "context": "a"', False),
        ('["data", [', False),
    ],
)
def test_what_is_within_data_is_known_by_the_beginning(text: str, expected: bool) -> None:
    assert is_wrapped(text) is expected


def test_rows_that_have_data_beside_passage_and_answer_are_lines(tmp_path: Path) -> None:
    row = {"data": [{"x": 1}], "context": RIVER, "answer": "长江", "qas": []}
    assert len(read(write(tmp_path / "a.jsonl", jsonl(row, row)))) == 2
    assert list(flatten(row, BY_NAME)) == [row]


@pytest.mark.parametrize("name", ["data", "paragraphs", "qas"])
@pytest.mark.parametrize("value", [[], [{"x": 1}]])
@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"context": RIVER, "answers": ["长江"]}, {}),
        ({"passage": RIVER, "ans": "长江"}, {"context": "passage", "answer": "ans"}),
        ({"passage": RIVER, "answer": "长江"}, {"context": "passage"}),
    ],
)
def test_no_row_is_lost_for_a_list_that_has_the_name_of_a_level(
    tmp_path: Path, row: dict[str, object], names: dict[str, str], name: str, value: object
) -> None:
    path = write(tmp_path / "a.jsonl", jsonl({**row, name: value}, row))
    found = list(read_passages(path, 1, None, FieldSettings(**names)))
    assert [one.answer for one in found if isinstance(one, Passage)] == ["长江", "长江"]
    assert len(found) == 2


def test_nested_questions_have_the_fields_that_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps(SQUAD))
    named = FieldSettings(context="context", answer="answers", id="title")
    found = list(read_passages(path, 1, None, named))
    assert [one.answer for one in found if isinstance(one, Passage)] == [
        answer for _, _, answer, _ in EXPECTED if answer
    ]
    assert {one.id for one in found} == {"长江", "长城"}


ANSWERS = [
    ["长江", "中国", "长江"],
    [{"text": "长江", "answer_start": 0}, {"text": "中国", "answer_start": 3}],
    {"text": ["长江", "中国", "长江"], "answer_start": [0, 3, 0]},
]


@pytest.mark.parametrize("answers", ANSWERS)
def test_answers_of_flat_rows_are_rows(tmp_path: Path, answers: object) -> None:
    row = {"context": RIVER, "question": "问？", "answers": answers, "id": 7}
    expected = [("7", RIVER, "长江", "问？"), ("7", RIVER, "中国", "问？")]
    assert shown(read(write(tmp_path / "a.jsonl", jsonl(row)))) == expected
    assert shown(read(write(tmp_path / "a.json", json.dumps([row], indent=2)))) == expected
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    assert shown(read(tmp_path / "a.parquet")) == expected


@pytest.mark.parametrize("answers", ANSWERS)
def test_a_named_field_may_have_several_answers(tmp_path: Path, answers: object) -> None:
    path = write(tmp_path / "a.jsonl", jsonl({"text": RIVER, "all": answers}))
    fields = FieldSettings(context="text", answer="all")
    found = [one.answer for one in read_passages(path, 1, None, fields) if isinstance(one, Passage)]
    assert found == ["长江", "中国"]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([], Reason.NO_ANSWER),
        ({"text": [], "answer_start": []}, Reason.NO_ANSWER),
        (None, Reason.MISSING_FIELD),
        ([" "], Reason.EMPTY_FIELD),
        ([3], Reason.WRONG_TYPE),
        ({"answer": "长江"}, Reason.WRONG_TYPE),
        ("长江", None),
    ],
)
def test_a_row_without_a_usable_answer_is_rejected_by_name(
    tmp_path: Path, answers: object, reason: Reason | None
) -> None:
    row = {"context": RIVER, "answers": answers, "id": "x"}
    good = {"context": RIVER, "answers": ["长江"]}
    (outcome, _) = read(write(tmp_path / "a.jsonl", jsonl(row, good)))
    assert outcome.id == "x"
    assert getattr(outcome, "reason", None) is reason


def test_one_answer_comes_before_several(tmp_path: Path) -> None:
    row = {"context": RIVER, "answer": "长江", "answers": ["中国"]}
    (outcome,) = read(write(tmp_path / "a.jsonl", jsonl(row)))
    assert isinstance(outcome, Passage)
    assert outcome.answer == "长江"


@pytest.mark.parametrize(
    ("row", "is_several"),
    [
        *(({"context": RIVER, "answer": answers}, True) for answers in (*ANSWERS, [], {})),
        ({"context": RIVER, "answers": ["长江"]}, True),
        ({"context": RIVER, "answers": "长江"}, True),
        ({"paragraphs": [{"context": RIVER, "qas": [{"answer": "长江"}]}]}, True),
        ({"context": RIVER, "answer": "长江", "answers": ["中国"], "data": []}, False),
        ({"context": " ", "answer": ""}, False),
        ({"context": RIVER}, False),
    ],
)
def test_rows_that_an_earlier_version_rejected_are_told_from_others_by_their_identity(
    tmp_path: Path, row: dict[str, object], is_several: bool
) -> None:
    flat = {"context": RIVER, "answer": "长江"}
    for name, text in (("a.jsonl", jsonl(flat, row)), ("a.json", json.dumps([flat, row]))):
        found = find_layout(write(tmp_path / name, text))
        assert isinstance(found, Layout)
        assert found.find_deviations() == ({"several": True} if is_several else {})
