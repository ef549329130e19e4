"""The content of a report, read only from the files in the run's folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.load.parts import REJECTS_FILE
from tasks.load.rules import MANY, is_above
from tasks.quality.flags import ORIGINALS, find_flags
from tasks.report.rows import ReportRows, read_report_rows
from tasks.runs.journal import JOURNAL_FILE, ShardHistory, read_journal
from tasks.runs.record import RunRecord
from tasks.runs.results import METADATA_KEY, QUALITY_FILE, find_predictions
from tasks.runs.state import is_suspect
from tasks.store.files import storage_of
from tasks.store.tables import list_values, read_batches, read_schema

EXAMPLES = 5  # of each reason
BEFORE: Mapping[str, Any] = {
    "partial": False,
    "rows_missing": 0,
    "rows_dropped": 0,
    "devices": {},
    "shards_left_out": 0,
    **dict.fromkeys(("cut_rows", "cut", "unknown_tokens", "unknown_rows")),
    **dict.fromkeys(("multiline_rows", "multiline_at", "quality", "exact_match", "groups")),
    **dict.fromkeys(("gate", "cost")),
}
"""What metrics of older versions lack; None is unknown."""


@dataclass(frozen=True)
class RowGroup:
    """Rows with one value in a column: how many, and the first ones with columns of the file."""

    value: str
    count: int
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Facts:
    """The content of a run's files.

    Attributes:
        record: run.json.
        metrics: metrics.json.
        rows: the predictions.
        rejects: rejects.parquet by reason, most frequent first.
        cuts: predictions by what was cut off, likewise.
        flags: rows of quality.parquet by flag, likewise, with their question.
        shards: the history of each shard in the journal, by number.
        missing: the mark in the predictions if they are partial, else empty.
    """

    record: RunRecord
    metrics: Mapping[str, Any]
    rows: ReportRows
    rejects: list[RowGroup]
    cuts: list[RowGroup]
    flags: list[RowGroup]
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
    def unusable(self) -> int:
        """See `count_unusable`."""
        return count_unusable(self.metrics)

    @property
    def is_accounted_for(self) -> bool:
        """Whether the files have the numbers of rows in the metrics, which are all of the input."""
        counted = {"predictions": self.predictions, "rejects": self.rejected}
        counted["rows_in"] = sum(counted.values())
        return all(self.metrics[name] == rows for name, rows in counted.items())

    @property
    def has_many_rejects(self) -> bool:
        """See `has_many_rejects`."""
        return has_many_rejects(self.metrics)

    @property
    def is_suspect(self) -> bool:
        """See `tasks.runs.state.is_suspect`."""
        return is_suspect(self.metrics)

    @property
    def failed_attempts(self) -> int:
        """The number of failed attempts, including those of shards that were made later."""
        return sum(one.attempts - (one.state == "made") for one in self.shards.values())


def count_unusable(metrics: Mapping[str, Any]) -> int:
    """Return how many rows load and predict rejected; missing and dropped rows are not meant."""
    others: int = metrics["rows_missing"] + metrics.get("rows_dropped", 0)
    return int(metrics["rejects"]) - others


def has_many_rejects(metrics: Mapping[str, Any]) -> bool:
    """Return whether load and predict rejected so many rows that somebody should look at them."""
    return is_above(MANY, count_unusable(metrics), metrics["rows_in"])


def gather_facts(folder: PurePath, record: RunRecord, metrics: Mapping[str, Any]) -> Facts:
    """Return the content of a report on the run in `folder`.

    Raises:
        StoreCorruptionError: a result cannot be read.
    """
    predictions = find_predictions(folder)
    return Facts(
        record=record,
        metrics={**BEFORE, **metrics},
        rows=read_report_rows(predictions),
        rejects=_group_rows(read_batches(folder / REJECTS_FILE), "reason"),
        cuts=_read_cuts(predictions),
        flags=_read_flags(folder),
        shards=dict(sorted(read_journal(folder / JOURNAL_FILE).items())),
        missing=_read_mark(predictions),
    )


def _read_cuts(predictions: PurePath) -> list[RowGroup]:
    if "cut" not in read_schema(predictions).names:  # by an older version
        return []
    return _group_rows(read_batches(predictions, ["row", "id", "cut"]), "cut")


def _read_flags(folder: PurePath) -> list[RowGroup]:
    path = folder / QUALITY_FILE
    if not storage_of(path).is_file(path):  # of an older version
        return []
    counts: Counter[str] = Counter()
    examples: dict[str, list[dict[str, Any]]] = {}
    for batch in read_batches(path):
        for flag, is_flagged in find_flags(batch).items():
            counts[flag] += is_flagged.true_count
            kept = examples.setdefault(flag, [])
            flagged = batch.filter(is_flagged).slice(0, EXAMPLES - len(kept)).to_pylist()
            original = ORIGINALS.get(flag)
            kept += [{"row": row["row"], "original": row.get(original)} for row in flagged]
    shown = [row for rows in examples.values() for row in rows]
    questions = _read_questions(find_predictions(folder), {row["row"] for row in shown})
    for row in shown:
        row["question"] = questions[row["row"]]
    return _list_groups(+counts, examples)


def _read_questions(predictions: PurePath, numbers: Collection[int]) -> dict[int, str]:
    """Return the questions of some rows, by their numbers."""
    wanted = pa.array(sorted(numbers), pa.int64())
    return {
        row["row"]: row["question"]
        for batch in read_batches(predictions, ["row", "question"])
        for row in batch.filter(pc.is_in(batch["row"], wanted)).to_pylist()
    }


def _group_rows(batches: Iterable[pa.RecordBatch], column: str) -> list[RowGroup]:
    """Return the rows by a column of texts; where it is null, a row is in no group."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[dict[str, Any]]] = {}
    for batch in batches:
        for value, rows in Counter(list_values(batch[column].drop_null())).items():
            if (missing := EXAMPLES - counts[value]) > 0:
                found = batch.filter(pc.equal(batch[column], value)).slice(0, missing)
                examples.setdefault(value, []).extend(found.to_pylist())
            counts[value] += rows
    return _list_groups(counts, examples)


def _list_groups(
    counts: Mapping[str, int], examples: Mapping[str, list[dict[str, Any]]]
) -> list[RowGroup]:
    ordered = sorted(counts, key=lambda value: (-counts[value], value))
    return [RowGroup(value, counts[value], examples[value]) for value in ordered]


def _read_mark(predictions: PurePath) -> dict[str, Any]:
    mark = (read_schema(predictions).metadata or {}).get(METADATA_KEY.encode())
    return {} if mark is None else dict(json.loads(mark))
