"""Comparing two runs: what differs, how the metrics change, which questions changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from operator import attrgetter
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.evaluation.bootstrap import CONFIDENCE, RESAMPLES, SEED, compare_paired
from tasks.evaluation.counts import count_pairs
from tasks.evaluation.scores import (
    HEADLINE_METRICS,
    METRIC_NAMES,
    METRICS,
    score_counts,
    score_each,
)
from tasks.load.parts import REJECTS_FILE
from tasks.operations.pairing import Kind, Pair, Row, pair_rows
from tasks.plan.changes import find_changes, find_keep_changes
from tasks.quality.flags import FLAGS, summarize
from tasks.runs.find import read_record
from tasks.runs.record import RunRecord
from tasks.runs.results import QUALITY_FILE, find_predictions
from tasks.store.files import storage_of
from tasks.store.tables import iterate_rows, read_batches

_STAGES = ("export", "dataset", "predictions")
_COLUMNS = ["row", "id", "context", "answer", "reference", "question"]

Both = tuple[Row, Row]
"""A row of run A and the same row of run B."""


@dataclass(frozen=True)
class Metric:
    """A metric of both runs over the same rows, and the confidence interval of B − A.

    All numbers are on a scale of 0 to 100.
    """

    name: str
    a: float
    b: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """B − A."""
        return self.b - self.a

    @property
    def verdict(self) -> str:
        """The result in words: which run is better, if the interval excludes 0."""
        if self.low > 0 or self.high < 0:
            return "B is better" if self.low > 0 else "B is worse"
        return "no clear difference" if self.low < self.high else "no difference"

    def __str__(self) -> str:
        """Return the metric on one line."""
        name, interval = METRIC_NAMES[self.name], f"95 % {self.low:+.2f} … {self.high:+.2f}"
        change = f"{self.a:.2f} → {self.b:.2f} ({self.difference:+.2f}, {interval})"
        return f"{name}: {change}, {self.verdict}"

    def as_dict(self) -> dict[str, Any]:
        """Return the content as plain JSON types."""
        numbers = {"a": self.a, "b": self.b, "difference": self.difference}
        numbers |= {"low": self.low, "high": self.high}
        rounded = {name: round(value, 4) for name, value in numbers.items()}
        return {"name": self.name, **rounded, "verdict": self.verdict}


@dataclass(frozen=True)
class Change:
    """A row whose question changed, with both sentence BLEUs if there is a reference."""

    a: Row
    b: Row
    bleu_a: float | None = None
    bleu_b: float | None = None

    @property
    def gain(self) -> float:
        """BLEU of B's question minus BLEU of A's; 0 without a reference."""
        return (self.bleu_b or 0.0) - (self.bleu_a or 0.0)


@dataclass(frozen=True, repr=False)
class Comparison:
    """The result of `compare_runs`; `wenti compare --json` prints `as_dict()`.

    Attributes:
        a: `run_id`, `folder` and the fingerprints of run A.
        b: the same of run B.
        causes: why the results differ, one sentence per stage; None if unknown.
        rows: the number of rows of each kind.
        reasons: for rows that only one run rejected, by kind, the number of rows per reason.
        flags: of each run, the number of questions with each flag; None if an older version made
            it. `rows` is the number of its questions.
        scored: the number of rows that the metrics are computed over.
        metrics: empty if no row has the same reference in both runs.
        questions: some changed questions, each with its texts and BLEU.
    """

    a: dict[str, Any]
    b: dict[str, Any]
    causes: list[str] | None
    rows: dict[str, int]
    reasons: dict[str, dict[str, int]]
    flags: dict[str, dict[str, int] | None]
    scored: int
    metrics: list[Metric]
    questions: list[dict[str, Any]]

    def __repr__(self) -> str:
        """Return the runs, their rows, metrics and flags in a few lines, for notebooks."""
        rows = (f"{count} {kind}" for kind, count in self.rows.items() if count)
        lines = [f"{self.a['run_id']} → {self.b['run_id']}", f"rows: {', '.join(rows) or 'none'}"]
        lines += [str(metric) for metric in self.metrics if metric.name in HEADLINE_METRICS]
        flags = self.flags["a"], self.flags["b"]
        if flags[0] is not None and flags[1] is not None:
            lines += [
                f"{flag}: {count} → {flags[1][flag]}"
                for flag, count in flags[0].items()
                if flag in FLAGS and (count or flags[1][flag])
            ]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the content as plain JSON types."""
        metrics = [metric.as_dict() for metric in self.metrics]
        settings = {"resamples": RESAMPLES, "seed": SEED, "confidence": CONFIDENCE}
        return {**asdict(self), "metrics": metrics, "bootstrap": settings}


def compare_runs(a: PurePath, b: PurePath, most: int) -> Comparison:
    """Compare the results of the runs in folders `a` and `b`; include at most `most` changes.

    Metrics are computed over the rows that have questions and the same reference in both runs.

    Raises:
        StoreCorruptionError: a result or a run.json cannot be read.
    """
    pairs = pair_rows(read_rows(a), read_rows(b))
    common = [(p.a, p.b) for p in pairs if p.a and p.b and p.kind in (Kind.SAME, Kind.CHANGED)]
    scored = [(x, y) for x, y in common if x.reference and x.reference == y.reference]
    metrics, bleus = score(scored) if scored else ([], {})
    changes = [Change(x, y, *bleus.get(x.row, ())) for x, y in common if x.question != y.question]
    kinds = Counter(pair.kind for pair in pairs)
    records = [read_record(folder) for folder in (a, b)]
    return Comparison(
        a=_identify(a, records[0]),
        b=_identify(b, records[1]),
        causes=find_causes(*records),
        rows={str(kind): kinds[kind] for kind in Kind},
        reasons=count_reasons(pairs),
        flags={"a": count_flags(a), "b": count_flags(b)},
        scored=len(scored),
        metrics=metrics,
        questions=_with_texts(choose(changes, most), b),
    )


def count_flags(folder: PurePath) -> dict[str, int] | None:
    """Return how many `rows` a run's quality.parquet has, and how many have each flag.

    Raises:
        StoreCorruptionError: it cannot be read.
    """
    path = folder / QUALITY_FILE
    if not storage_of(path).is_file(path):
        return None
    quality = summarize(read_batches(path))
    return {"rows": quality["rows"], **quality["flags"]}


def read_rows(folder: PurePath) -> list[Row]:
    """Return the predictions and the rejects of a run, in input order.

    Raises:
        StoreCorruptionError: a result cannot be read.
    """
    rows = [
        Row(
            row=line["row"],
            id=line["id"],
            content=hash((line["context"], line["answer"])),  # the texts would take much memory
            reference=line["reference"],
            question=line["question"],
        )
        for batch in read_batches(find_predictions(folder), _COLUMNS)
        for line in batch.to_pylist()
    ]
    for line in iterate_rows(folder / REJECTS_FILE):
        rows.append(Row(line["row"], line["id"], reason=line["reason"]))
    return sorted(rows, key=attrgetter("row"))


def score(both: Sequence[Both]) -> tuple[list[Metric], dict[int, tuple[float, float]]]:
    """Return the metrics, and by row number in A the sentence BLEUs of A's and B's question."""
    a, b = (
        count_pairs([(rows[run].question or "", rows[run].reference or "") for rows in both])
        for run in (0, 1)
    )
    found = compare_paired(a, b, score_counts)
    numbers = [part.tolist() for part in (found.a, found.b, found.low, found.high)]
    metrics = [Metric(*values) for values in zip(METRICS, *numbers, strict=True)]
    bleus = zip(score_each(a).tolist(), score_each(b).tolist(), strict=True)
    return metrics, {rows[0].row: bleu for rows, bleu in zip(both, bleus, strict=True)}


def choose(changes: Sequence[Change], most: int) -> list[Change]:
    """Return at most `most` changes, alternating the largest gains and the largest losses.

    Changes without a gain or loss, or without a reference, follow in input order.
    """
    by_gain = sorted(changes, key=attrgetter("gain"))
    losses = [change for change in by_gain if change.gain < 0]
    gains = [change for change in reversed(by_gain) if change.gain > 0]
    mixed = [one for both in zip_longest(gains, losses) for one in both if one is not None]
    return [*mixed, *(change for change in changes if change.gain == 0)][:most]


def find_causes(a: RunRecord, b: RunRecord) -> list[str] | None:
    """Return why the results of two runs differ, one sentence per stage that differs.

    `aggregate.keep`, which drops questions, is told like a stage.

    None if an older version of Wenti made one of the runs: it did not record this.
    """
    before, now = a.decided_by, b.decided_by
    if before is None or now is None or not set(_STAGES) <= set(now):
        return None
    files = (a.passages, b.passages)
    changes = find_changes(before, now, dict.fromkeys(_STAGES, False), files)
    causes = [f"{one.stage}: {', '.join(one.causes)}" for one in changes if one.causes]
    return causes + find_keep_changes(a.config, b.config)


def count_reasons(pairs: Iterable[Pair]) -> dict[str, dict[str, int]]:
    """Return how many rows only A and only B rejected, by reason."""
    found = Counter(
        (pair.kind, row.reason)
        for pair in pairs
        if pair.kind in (Kind.REJECTED_IN_A, Kind.REJECTED_IN_B)
        for row in (pair.a, pair.b)
        if row and row.reason
    )
    reasons: dict[str, dict[str, int]] = {Kind.REJECTED_IN_A: {}, Kind.REJECTED_IN_B: {}}
    for (kind, reason), count in found.items():
        reasons[kind][reason] = count
    return reasons


def _identify(folder: PurePath, record: RunRecord) -> dict[str, Any]:
    return {"run_id": folder.name, "folder": str(folder), **record.fingerprints}


def _with_texts(changes: Sequence[Change], folder: PurePath) -> list[dict[str, Any]]:
    """Return the changes with their texts; passage and answer are read from run B."""
    numbers = pa.array([change.b.row for change in changes], pa.int64())
    texts = {
        line["row"]: {"context": line["context"], "answer": line["answer"]}
        for batch in read_batches(find_predictions(folder), ["row", "context", "answer"])
        for line in batch.filter(pc.is_in(batch["row"], numbers)).to_pylist()
    }
    return [
        {
            "id": one.b.id,
            "row_a": one.a.row,
            "row_b": one.b.row,
            **texts[one.b.row],
            "reference": one.b.reference,
            "question_a": one.a.question,
            "question_b": one.b.question,
            "bleu_a": one.bleu_a and round(one.bleu_a, 4),
            "bleu_b": one.bleu_b and round(one.bleu_b, 4),
        }
        for one in changes
    ]
