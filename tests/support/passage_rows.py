"""Passages as rows of an input, some of which come later, and what makes two results equal."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.support.in_process import Predicted
from tests.support.rehearsal import ROOT

Rows = list[dict[str, Any]]

LINES = (ROOT / "data/passages/heldout.jsonl").read_text(encoding="utf-8").splitlines()
POOL: Rows = [json.loads(line) for line in LINES]
FIRST, NEW = POOL[:40], POOL[40:43]
BAD: Mapping[str, Any] = {"id": "bad", "context": "长江"}  # without an answer


def shuffled(rows: Rows) -> Rows:
    return random.Random(3).sample(rows, len(rows))  # noqa: S311 nothing secret


TEXTS = ["row", "id", "question", "output_ids"]


def check_equal(found: Predicted, expected: Predicted) -> None:
    """Check rows, ids, texts and tokens to the byte, and scores to 1e-5."""
    assert found.table.select(TEXTS) == expected.table.select(TEXTS)
    scores = [one.table["score"].to_numpy() for one in (found, expected)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-5
    others = [one.table["alternatives"].to_pylist() for one in (found, expected)]
    assert others[0] == others[1]
