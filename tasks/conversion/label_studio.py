"""Tasks of Label Studio: one for each row, with its questions as predictions.

The names `question` and `passage` are those of the labeling interface in docs/results.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from tasks.columns.values import as_plain
from tasks.conversion.questions import Question, Questions, Tally

OF_QUESTIONS = {"question_rank", "question", "score", "is_finished", "token_count"}
"""The columns that differ between the questions of a row; the others are the data of its task."""

encode = json.JSONEncoder(ensure_ascii=False).encode


def as_label_studio(questions: Questions, tally: Tally) -> Iterator[str]:
    """Yield the text of the file, a line for each task.

    Raises:
        StoreCorruptionError: the questions cannot be read.
    """
    yield "["
    for number, (_, of_row) in enumerate(groupby(questions, itemgetter("row"))):
        candidates = list(of_row)
        for one in candidates:
            tally.add(one)
        data = {name: one for name, one in candidates[0].items() if name not in OF_QUESTIONS}
        predictions = [_as_prediction(one, questions.model) for one in candidates]
        task = {"data": as_plain(data), "predictions": predictions}
        yield f"{',' if number else ''}\n{encode(task)}"
    yield "\n]\n"


def _as_prediction(question: Question, model: str) -> dict[str, Any]:
    score = question["score"]
    result = {
        "id": "{row}-{question_rank}".format_map(question),
        "from_name": "question",
        "to_name": "passage",
        "type": "textarea",
        "value": {"text": [question["question"]]},
    }
    # Label Studio refuses what is not from 0 to 1; a score is a logarithm, so it is at most 0.
    known = {} if score is None else {"score": round(math.exp(min(score, 0.0)), 6)}
    return {"model_version": model, **known, "result": [result]}
