"""Tasks of Label Studio, checked against the rules of its import."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pyarrow as pa
import pytest

from tasks.conversion.label_studio import as_label_studio
from tasks.conversion.questions import Tally
from tests.support.converted_runs import others, questions_of, schema_with
from tests.support.finished_runs import prediction
from tests.support.pages import Page
from tests.support.rehearsal import ROOT

RESULT = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "from_name": {"const": "question"},
        "to_name": {"const": "passage"},
        "type": {"const": "textarea"},
        "value": {
            "type": "object",
            "properties": {"text": {"type": "array", "items": {"type": "string"}}},
            "required": ["text"],
        },
    },
    "required": ["from_name", "to_name", "type", "value"],
}
PREDICTION = {
    "type": "object",
    "properties": {
        "model_version": {"type": "string"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "result": {"type": "array", "items": RESULT, "minItems": 1},
    },
    "required": ["model_version", "result"],
    "additionalProperties": False,
}
TASK = {
    "type": "object",
    "properties": {
        "data": {
            "type": "object",
            "properties": {"context": {"type": "string"}, "answer": {"type": "string"}},
            "required": ["context", "answer"],
        },
        "predictions": {"type": "array", "items": PREDICTION, "minItems": 1},
    },
    "required": ["data", "predictions"],
    "additionalProperties": False,
}


def tasks_of(
    path: Path, rows: list[dict[str, Any]], schema: pa.Schema
) -> tuple[list[dict[str, Any]], Tally]:
    tally = Tally()
    found = json.loads("".join(as_label_studio(questions_of(path, rows, schema), tally)))
    jsonschema.validate(found, {"type": "array", "items": TASK})
    return found, tally


def test_a_row_is_a_task_whose_questions_are_candidates_best_first(tmp_path: Path) -> None:
    rows = [
        prediction(0, score=-0.5, alternatives=others("另一个？", "第三个？"), day="一"),
        prediction(4, score=0.25, cut="passage_end", day=None),
    ]
    path, schema = tmp_path / "predictions.parquet", schema_with(day=pa.string())
    (first, second), tally = tasks_of(path, rows, schema)
    assert first["data"] == {
        "row": 0,
        "id": "id-0",
        "context": rows[0]["context"],
        "answer": "山东省",
        "reference": "泰山0位于哪个省？",
        "cut": None,
        "unknown_tokens": 0,
        "day": "一",
    }
    candidates = [one["result"][0]["value"]["text"] for one in first["predictions"]]
    assert candidates == [["泰山0在哪里？"], ["另一个？"], ["第三个？"]]
    scores = [one["score"] for one in (*first["predictions"], *second["predictions"])]
    assert scores == pytest.approx([math.exp(-0.5), math.exp(-9), math.exp(-10), 1], abs=1e-6)
    ids = [one["result"][0]["id"] for task in (first, second) for one in task["predictions"]]
    assert ids == ["0-1", "0-2", "0-3", "4-1"]
    assert {one["model_version"] for one in first["predictions"]} == {"model-1"}
    assert (tally.rows, tally.questions) == (2, 4)


def test_an_engine_without_scores_and_values_that_json_does_not_have(tmp_path: Path) -> None:
    kept = {"share": float("nan"), "at": 0}
    schema = schema_with(share=pa.float64(), at=pa.date32())
    rows = [prediction(0, score=None, **kept)]
    ((task,), _) = tasks_of(tmp_path / "predictions.parquet", rows, schema)
    assert "score" not in task["predictions"][0]
    assert (task["data"]["share"], task["data"]["at"]) == (None, "1970-01-01")


@pytest.mark.parametrize("page", ["docs/results.md", "docs/zh/results.md"])
def test_the_labeling_interface_of_the_documentation_takes_these_tasks(page: str) -> None:
    (text,) = (text for language, text in Page(ROOT / page).blocks if language == "xml")
    tags = {one.get("name"): one for one in ElementTree.fromstring(text)}  # noqa: S314 our own
    assert tags["question"].tag == "TextArea"
    assert tags["question"].get("toName") == "passage"
    assert (tags["passage"].tag, tags["passage"].get("value")) == ("Text", "$context")
