"""Reading metrics.json of any version of Wenti."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from tasks.runs.results import METRICS_FILE
from tasks.store.files import storage_of


class _Quality(BaseModel):
    """What every version that judges questions says of them."""

    rows: int
    flagged_rows: int | None = None
    flags: dict[str, int]
    means: dict[str, float | None]
    score_deviation: float | None = None


class _Gate(BaseModel):
    since: str | None = None
    breaches: list[dict[str, Any]] = []


class _Group(BaseModel):
    values: list[Any]
    rows: int
    predictions: int
    rejects: int
    rows_dropped: int
    flagged_rows: int
    score_per_token: float | None


class _Groups(BaseModel):
    columns: list[str]
    shown: list[_Group]


class _Metrics(BaseModel):
    """The types of what commands read of earlier runs; an older version may lack any key."""

    rows_in: int | None = None
    predictions: int | None = None
    rejects: int | None = None
    rows_dropped: int = 0
    rows_missing: int = 0
    rows_made: int | None = None
    rows_per_second: float | None = None
    bleu_4: float | None = None
    rouge_l: float | None = None
    exact_match: float | None = None
    cost: float | None = None
    quality: _Quality | None = None
    gate: _Gate | None = None
    groups: _Groups | None = None


def read_metrics(folder: PurePath) -> dict[str, Any]:
    """Return a run's metrics.json; empty if it has none, or it is damaged.

    What is damaged is told by `wenti verify`; a list of runs goes on without its figures.
    """
    path = folder / METRICS_FILE
    try:
        metrics = json.loads(storage_of(path).read(path))
        _Metrics.model_validate(metrics, strict=True)
    except (OSError, ValueError, RecursionError):
        return {}
    return dict(metrics)
