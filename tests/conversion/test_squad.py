"""SQuAD's JSON, read back with `json` and compared with what the rows say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.conversion import grouping
from tasks.conversion.questions import Tally
from tasks.conversion.squad import as_squad, find_title
from tests.support.converted_runs import RUN_ID, others, questions_of, schema_with
from tests.support.finished_runs import prediction


def strict(**properties: object) -> dict[str, Any]:
    """Return the schema of an object that has these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def some(items: object) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


TEXT = {"type": "string"}
ANSWER = strict(text=TEXT, answer_start={"type": "integer", "minimum": 0})
QUESTION = strict(id=TEXT, question=TEXT, answers=some(ANSWER))
ARTICLE = strict(title=TEXT, paragraphs=some(strict(context=TEXT, qas=some(QUESTION))))
SQUAD = strict(made_by=TEXT, run_id=TEXT, version={"const": "1.1"}, data=some(ARTICLE))
TITLED = schema_with(title=pa.string())


def read_squad(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> tuple[Any, Tally]:
    """Return what a reader of JSON finds in the file of these rows, and how it was counted."""
    tally = Tally()
    found = json.loads("".join(as_squad(questions_of(path, rows, schema), tally)))
    if found["data"]:
        jsonschema.validate(found, SQUAD)
    return found["data"], tally


def flatten(data: list[dict[str, Any]]) -> list[tuple[str, str, str, str, str, int]]:
    """Return title, passage, id, question, answer and its place of each question, in order."""
    return [
        (article["title"], paragraph["context"], qa["id"], qa["question"], one["text"], start)
        for article in data
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
        for one in qa["answers"]
        if (start := one["answer_start"]) >= 0
    ]


# Few and short texts, so that passages repeat and most answers are somewhere.
texts = st.text(alphabet='泰山😀\U00020000é e\u0301"\\\n', min_size=1, max_size=6)
rows_of_input = st.lists(
    st.fixed_dictionaries(
        {
            "context": st.sampled_from(["泰山位于山东省", "😀e\u0301泰山", "泰 泰山", "é😀"])
            | texts,
            "answer": st.sampled_from(["泰山", "😀", "\u0301", "省"]) | texts,
            "title": st.sampled_from(["山", "河", "", None]),
            "alternatives": st.lists(texts, max_size=2).map(lambda some: others(*some)),
        }
    ),
    max_size=12,
)


@pytest.mark.parametrize("most", [1, 40, 1 << 26], ids=["passage by passage", "parts", "at once"])
@pytest.mark.parametrize("has_titles", [True, False])
@settings(max_examples=25)
@given(drawn=rows_of_input)
def test_every_answer_is_where_it_is_said_to_be_and_every_passage_is_there_once(
    tmp_path_factory: pytest.TempPathFactory,
    most: int,
    has_titles: bool,
    drawn: list[dict[str, Any]],
) -> None:
    rows = [prediction(3 * number, **one) for number, one in enumerate(drawn)]
    schema = TITLED if has_titles else schema_with()
    path = tmp_path_factory.mktemp("run") / "predictions.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "CHARACTERS_PER_BATCH", most)
        data, tally = read_squad(path, rows, schema)
    found = flatten(data)
    assert all(one[1][one[5] : one[5] + len(one[4])] == one[4] for one in found)
    usable = [row for row in rows if row["answer"] in row["context"]]
    asked = {
        f"{row['id']}-{row['row']}-{rank}": (
            (row["title"] or "") if has_titles else "",
            row["context"],
            question,
            row["answer"],
        )
        for row in usable
        for rank, question in enumerate(
            [row["question"], *(one["question"] for one in row["alternatives"])], 1
        )
    }
    assert {one[2]: (one[0], one[1], one[3], one[4]) for one in found} == asked
    assert len(found) == len(asked) == tally.questions
    assert (tally.rows, tally.left_out) == (len(usable), len(rows) - len(usable))
    left_out = [row["row"] for row in rows if row["answer"] not in row["context"]]
    assert tally.first_left_out == left_out[:10]
    passages = [[one["context"] for one in article["paragraphs"]] for article in data]
    assert passages == group_passages(rows, has_titles)


def group_passages(rows: list[dict[str, Any]], has_titles: bool) -> list[list[str]]:
    """Return the passages of each article that have an answer, in the order of their first rows."""
    articles: dict[tuple[bool, str], dict[str, bool]] = {}
    for row in rows:
        title, context = row["title"] if has_titles else None, row["context"]
        article = articles.setdefault((title is None, context if title is None else title), {})
        article[context] = article.get(context, False) or row["answer"] in context
    found = [[text for text, is_usable in one.items() if is_usable] for one in articles.values()]
    return [one for one in found if one]


def test_articles_and_passages_are_in_the_order_of_their_first_rows(tmp_path: Path) -> None:
    rows = [
        prediction(number, context=f"{context}山东省", title=title)
        for number, (title, context) in enumerate(
            [("山", "b"), ("河", "a"), (None, "c"), ("山", "a"), ("河", "a"), ("山", "b")]
        )
    ]
    data, _ = read_squad(tmp_path / "predictions.parquet", rows, TITLED)
    assert [(one[0], one[1][0], one[2]) for one in flatten(data)] == [
        ("山", "b", "id-0-0-1"),
        ("山", "b", "id-5-5-1"),
        ("山", "a", "id-3-3-1"),
        ("河", "a", "id-1-1-1"),
        ("河", "a", "id-4-4-1"),
        ("", "c", "id-2-2-1"),
    ]


@pytest.mark.parametrize(
    ("kept", "title"),
    [
        ({}, None),
        ({"name": pa.string()}, None),
        ({"source": pa.string()}, "source"),
        ({"source": pa.string(), "Title": pa.int64()}, "Title"),
        ({"title": pa.list_(pa.string()), "source": pa.string()}, "source"),
    ],
)
def test_the_title_is_a_kept_column_with_names(
    tmp_path: Path, kept: dict[str, pa.DataType], title: str | None
) -> None:
    path = tmp_path / "predictions.parquet"
    assert find_title(questions_of(path, [prediction(0)], schema_with(**kept))) == title


def test_the_file_says_what_made_it(tmp_path: Path) -> None:
    questions = questions_of(tmp_path / "predictions.parquet", [prediction(0)])
    found = json.loads("".join(as_squad(questions, Tally())))
    assert (found["made_by"], found["run_id"]) == ("wenti", RUN_ID)
