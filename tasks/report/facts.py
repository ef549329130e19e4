"""The content of a report, read only from the files in the run's folder."""

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
    """The rejects with one reason: how many, and the first ones with the columns of the file."""

    reason: str
    count: int
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Facts:
    """The content of a run's files.

    Attributes:
        record: run.json.
        metrics: metrics.json.
        rows: predictions.parquet.
        rejects: rejects.parquet by reason, most frequent first.
        shards: the history of each shard in the journal, by number.
        missing: the mark in predictions.parquet if it is partial, else empty.
    """

    record: RunRecord
    metrics: Mapping[str, Any]
    rows: ReportRows
    rejects: list[RejectGroup]
    shards: Mapping[int, ShardHistory]
    missing: Mapping[str, Any]

    @property
    def predictions(self) -> int:
        """The number of rows with a question."""
        return self.rows.values.scores.size

    @property
    def rejected(self) -> int:
        """The number of rows without a question."""
        return sum(one.count for one in self.rejects)

    @property
    def is_accounted_for(self) -> bool:
        """Whether the files have the numbers of rows in the metrics, which are all of the input."""
        counted = {"predictions": self.predictions, "rejects": self.rejected}
        counted["rows_in"] = sum(counted.values())
        return all(self.metrics[name] == rows for name, rows in counted.items())

    @property
    def failed_attempts(self) -> int:
        """The number of failed attempts, including those of shards that were made later."""
        return sum(one.attempts - (one.state == "made") for one in self.shards.values())


def gather_facts(folder: PurePath, record: RunRecord, metrics: Mapping[str, Any]) -> Facts:
    """Return the content of a report on the run in `folder`.

    Raises:
        StoreCorruptionError: a result cannot be read.
    """
    return Facts(
        record=record,
        # Metrics of older versions are never partial and have no devices.
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
