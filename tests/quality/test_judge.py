"""The definitions of docs/quality.md on cases that people judged, of both kinds."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.quality.duplicates import Duplicates, find_duplicates
from tasks.quality.flags import find_flags
from tasks.quality.judge import COLUMNS, QUALITY, judge
from tasks.quality.texts.normal_form import Normalizer
from tasks.store.tables import PREDICTIONS

TAI = "泰山位于山东省泰安市，海拔1,545米，古称岱山。"
COLOGNE = "Cologne lies on the Rhine. In 2018 the city had 1,085,664 inhabitants."


def judge_rows(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the quality of rows; what a row does not give is of a good question."""
    texts = {"context": TAI, "answer": "山东省", "question": "泰山在哪里？"}
    made_up = {**texts, "score": -2.0, "is_finished": True, "token_count": 8}
    table = pa.RecordBatch.from_pylist(
        [{"row": at, **made_up, **row} for at, row in enumerate(rows)]
    )
    normalizer, count = Normalizer(), len(rows)
    questions = [(np.arange(count), table["question"].to_pylist())]
    originals = find_duplicates(questions, normalizer, Path(gettempdir()))
    has_unknown = np.array([row.get("has_unknown", False) for row in rows])
    result: list[dict[str, Any]] = judge(table, has_unknown, originals, normalizer).to_pylist()
    return result


def judge_one(**row: Any) -> dict[str, Any]:  # noqa: ANN401
    return judge_rows(row)[0]


@pytest.mark.parametrize(
    "question",
    [
        "泰山在哪里？",
        "泰山在哪里",
        "泰山位于哪个省",
        "谁发明了电话",
        "光合作用是什么",
        "为什么天空是蓝色的",
        "珠穆朗玛峰有多高",
        "一年有几个月",
        "如何制作豆腐",
        "该市何时建立",
        "他是北京人吗",
        "水能否溶解盐",
        "他到底去了没有呢。",
        "怎样到达机场",
        "誰發明了電話",
        "這是什麼",
        "泰山的海拔?",
        "What is the capital of France",
        "who wrote Hamlet",
        "In which year did the war end",
        "Is Berlin in Germany",
        "Didn't he win? ",
        "Tell me the year?",
    ],
)
def test_these_ask(question: str) -> None:
    assert judge_one(question=question)["asks"]


@pytest.mark.parametrize(
    "question",
    [
        "",
        "泰山位于山东省",
        "山东省。",
        "几乎所有的学生都来了",
        "哪怕下雨也要去",
        "任何人都可以参加",
        "许多大学位于北京",
        "吗啡是一种药物",
        "几何学是数学的分支",
        "他买了一件呢子大衣",
        "The Rhine flows through Cologne.",
        "He did not know who won",
        "The year when it ended",
        "Island states",
        "However, it rained",
        "Isabella of Spain",
    ],
)
def test_these_do_not_ask(question: str) -> None:
    assert not judge_one(question=question)["asks"]


@pytest.mark.parametrize(
    ("answer", "question", "expected"),
    [
        ("山东省", "泰山位于山东省的哪里？", True),
        ("山东省", "泰山位于哪个省？", False),
        ("《红楼梦》", "红楼梦的作者是谁？", True),
        ("1,545米", "1545 米的山是哪座？", True),
        ("545米", "1545 米的山是哪座？", False),
        ("ＢＢＣ", "bbc是什么？", True),
        ("5", "2015年发生了什么？", False),
        ("2015", "2015年发生了什么？", True),
        ("Rhine", "Which city lies on the RHINE?", True),
        ("us", "Who used it first?", False),
        ("the Rhine.", "Is it on the Rhine?", True),
        ("Rhine valley", "Is the valley of the Rhine deep?", False),
        ("……", "泰山在哪里？", None),
        ("山", "", False),
    ],
)
def test_a_question_gives_the_answer_away_if_it_has_the_answers_words(
    answer: str, question: str, expected: bool | None
) -> None:
    assert judge_one(answer=answer, question=question)["gives_answer_away"] is expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("什么是什么是什么？", 0.5),  # 什么是 么是什 是什么, and the same three again
        ("泰山在哪里？", 0),
        ("的的的的", 0.5),
        ("who is who is who is he", 0.4),
        ("Who is who in the city?", 0),
        ("哪里", None),
    ],
)
def test_repeats_is_the_share_of_runs_of_three_words_that_were_there_before(
    question: str, expected: float | None
) -> None:
    found = judge_one(question=question)["repeats"]
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


@pytest.mark.parametrize(
    ("context", "question", "copies", "missing"),
    [
        (TAI, "泰山位于哪个省？", 4 / 7, 2),
        (TAI, "泰山位于山东省。", 1, 0),
        (TAI, "谁？", 0, 1),
        (TAI, "海拔1545米？", 1, 0),
        (TAI, "海拔545米？", 2 / 4, 1),
        (TAI, "", None, 0),
        (COLOGNE, "Which city lies on the RHINE?", 4 / 6, 1),
        (COLOGNE, "Who lives in col?", 1 / 4, 3),
        ("", "泰山在哪里？", 0, 5),
    ],
)
def test_copies_is_the_longest_run_that_is_also_in_the_passage(
    context: str, question: str, copies: float | None, missing: int
) -> None:
    found = judge_one(context=context, question=question)
    assert found["copies"] == (None if copies is None else pytest.approx(copies, abs=1e-6))
    assert found["words_not_in_passage"] == missing


@pytest.mark.parametrize(("question", "expected"), [("", True), (" ？！", True), ("谁", False)])
def test_a_question_of_no_words_is_empty(question: str, expected: bool) -> None:
    assert judge_one(question=question)["is_empty"] is expected


def test_lengths_scores_and_outputs_are_those_of_the_row() -> None:
    found = judge_rows(
        {"question": "谁？ ", "score": -3.0, "token_count": 4, "has_unknown": True},
        {"question": "Who?", "score": None, "token_count": 0, "is_finished": False},
    )
    assert [row["character_count"] for row in found] == [3, 4]
    assert [row["token_count"] for row in found] == [4, 0]
    assert [row["score_per_token"] for row in found] == [-0.75, None]
    assert [row["has_unknown"] for row in found] == [True, False]
    assert [row["is_finished"] for row in found] == [True, False]


def test_rows_stay_in_their_order_whatever_their_lengths() -> None:
    long = {"question": "泰山位于山东省的哪个城市？", "context": "泰" * 50}
    found = judge_rows(long, {"question": "谁"}, {"question": ""}, long)
    assert [row["row"] for row in found] == [0, 1, 2, 3]
    assert [row["character_count"] for row in found] == [13, 1, 0, 13]
    assert [row["is_empty"] for row in found] == [False, False, True, False]
    assert [row["duplicate_of"] for row in found] == [None, None, None, 0]


def test_no_rows_have_no_quality() -> None:
    rows = pa.RecordBatch.from_pylist([], pa.schema([PREDICTIONS.field(name) for name in COLUMNS]))
    nothing, none = np.empty(0, np.bool_), np.empty(0, np.int64)
    found = judge(rows, nothing, Duplicates(none, none), Normalizer())
    assert found.schema == QUALITY
    assert found.num_rows == 0


def test_flags_are_what_is_wrong_and_what_is_not_defined_is_not() -> None:
    good = {"question": "泰山在哪里？"}
    rows = judge_rows(
        good,
        good | {"is_finished": False},
        {"question": "", "answer": "…", "has_unknown": True},
        {"question": "山东省的的的的"},
    )
    flags = find_flags(pa.RecordBatch.from_pylist(rows, QUALITY))
    assert {name: values.to_pylist() for name, values in flags.items()} == {
        "unfinished": [False, True, False, False],
        "empty": [False, False, True, False],
        "unknown": [False, False, True, False],
        "duplicate": [False, True, False, False],
        "near_duplicate": [False, False, False, False],
        "gives_answer_away": [False, False, False, True],
        "not_asking": [False, False, True, True],
        "repetitive": [False, False, False, True],
    }
