"""Finished runs whose questions are converted for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.conversion.questions import Questions
from tasks.runs.results import PREDICTIONS_FILE, RUN_FILE, SUCCESS_FILE
from tasks.runs.run import commit_json
from tasks.store.tables import PREDICTIONS, commit_table
from tests.support.run_records import least_record

RUN_ID = "20260101-000000-aaaaaa"


def schema_with(**kept: pa.DataType) -> pa.Schema:
    """Return the schema of predictions.parquet with kept columns."""
    return pa.schema([*PREDICTIONS, *(pa.field(name, kind) for name, kind in kept.items())])


def questions_of(
    path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema = PREDICTIONS
) -> Questions:
    """Write rows as predictions.parquet, in two row groups; return their questions."""
    cut = len(rows) // 2
    parts = [pa.RecordBatch.from_pylist(part, schema) for part in (rows[:cut], rows[cut:])]
    commit_table(path, schema, parts)
    return Questions(path, RUN_ID, "model-1")


def write_run(
    store: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema = PREDICTIONS, **record: object
) -> Path:
    """Write a finished run with these predictions into a store; return its folder."""
    run = store / "runs" / RUN_ID
    questions_of(run / PREDICTIONS_FILE, rows, schema)
    commit_json(run / RUN_FILE, least_record(run_id=RUN_ID, **record))
    commit_json(run / SUCCESS_FILE, {"run_id": RUN_ID, "files": []})
    return run


def others(*texts: str) -> list[dict[str, Any]]:
    """Return alternatives of a row, with scores below that of its question."""
    return [{"question": text, "score": -9.0 - rank} for rank, text in enumerate(texts)]
