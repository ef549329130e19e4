"""What a report says of a run, read from the files in the run's folder and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tasks.load.parts import REJECTS_FILE
from tasks.report.rows import ReportRows, read_report_rows
from tasks.runs.journal import JOURNAL_FILE, ShardHistory, read_journal
from tasks.runs.record import RunRecord
from tasks.runs.results import METADATA_KEY, PREDICTIONS_FILE
from tasks.store.tables import read_batches, read_metadata

EXAMPLES = 5  # of each reason


@dataclass(frozen=True)
class RejectGroup:
    """The rejects of one reason: how many, and the first of them in the columns of the file."""

    reason: str
    count: int
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Facts:
    """What is known of a run.

    Attributes:
        record: its run.json.
        metrics: its metrics.json.
        rows: of its predictions.parquet.
        rejects: of its rejects.parquet by reason, the most frequent first.
        shards: the history of each shard from its journal, by number.
        missing: the mark in its predictions.parquet if that is partial, else empty.
    """

    record: RunRecord
    metrics: Mapping[str, Any]
    rows: ReportRows
    rejects: list[RejectGroup]
    shards: Mapping[int, ShardHistory]
    missing: Mapping[str, Any]

    @property
    def predictions(self) -> int:
        """How many rows have a question."""
        return self.rows.values.scores.size

    @property
    def rejected(self) -> int:
        """How many rows have none."""
        return sum(one.count for one in self.rejects)

    @property
    def is_accounted_for(self) -> bool:
        """Whether the files hold as many rows as the metrics say, and all of the input."""
        counted = {"predictions": self.predictions, "rejects": self.rejected}
        counted["rows_in"] = sum(counted.values())
        return all(self.metrics[name] == rows for name, rows in counted.items())

    @property
    def failed_attempts(self) -> int:
        """How often a shard failed, also if it was made in the end."""
        return sum(one.attempts - (one.state == "made") for one in self.shards.values())


def gather_facts(folder: PurePath, record: RunRecord, metrics: Mapping[str, Any]) -> Facts:
    """Return the facts of a run from its results.

    Raises:
        StoreCorruptionError: a result cannot be read.
    """
    return Facts(
        record=record,
        # Older ones are never partial, and tell nothing of the devices.
        metrics={"partial": False, "rows_missing": 0, "devices": {}, **metrics},
        rows=read_report_rows(folder / PREDICTIONS_FILE),
        rejects=_read_rejects(folder / REJECTS_FILE),
        shards=dict(sorted(read_journal(folder / JOURNAL_FILE).items())),
        missing=_read_mark(folder / PREDICTIONS_FILE),
    )


def _read_rejects(path: PurePath) -> list[RejectGroup]:
    counts: dict[str, int] = {}
    examples: dict[str, list[dict[str, Any]]] = {}
    for batch in read_batches(path):
        for reject in batch.to_pylist():
            reason = reject["reason"]
            counts[reason] = counts.get(reason, 0) + 1
            if counts[reason] <= EXAMPLES:
                examples.setdefault(reason, []).append(reject)
    ordered = sorted(counts, key=lambda reason: (-counts[reason], reason))
    return [RejectGroup(reason, counts[reason], examples[reason]) for reason in ordered]


def _read_mark(predictions: PurePath) -> dict[str, Any]:
    mark = read_metadata(predictions).get(METADATA_KEY.encode())
    return {} if mark is None else dict(json.loads(mark))
