"""Partial results, without the shards that failed: when they are allowed, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from tasks.errors import ShardsFailedError
from tasks.predict.jobs import Prediction, ShardOutcome
from tasks.runs.results import METADATA_KEY

SHARD_FAILED = "shard_failed"
AGAIN = "the same command, or Retry on the run's page in Prefect"
REMEDY = "run the same config again: it makes what is missing, and its results are complete"


@dataclass(frozen=True)
class Missing:
    """The shards that are missing from a result because they failed."""

    failed: tuple[ShardOutcome, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Whether any shard is missing."""
        return bool(self.failed)

    @property
    def rows(self) -> int:
        """The number of missing rows."""
        return sum(outcome.job.shard.rows for outcome in self.failed)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Which rows of the input are missing and why, as JSON types."""
        return {
            "rows_missing": self.rows,
            "shards": [_summarize(outcome) for outcome in self.failed],
            "remedy": REMEDY,
        }

    def rejects(self) -> Iterator[dict[str, Any]]:
        """Yield the missing rows in the columns of `tasks.store.tables.REJECTS`, in input order."""
        for outcome in self.failed:
            why = {"reason": SHARD_FAILED, "detail": _reason(outcome)}
            for row in outcome.job.read_ids():
                yield {**row, "line": None, **why}

    def mark(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema with the summary in its metadata; unchanged if nothing is missing."""
        if not self.is_partial:
            return schema
        return schema.with_metadata({METADATA_KEY: json.dumps(self.summary, ensure_ascii=False)})


def raise_if_failed(prediction: Prediction, allow_partial: bool) -> None:
    """Raise if shards failed, unless `allow_partial` is set and other shards were made.

    Raises:
        ShardsFailedError: lists every shard that failed, and why.
    """
    failed, can_go_on = prediction.failed, bool(prediction.manifests)
    if not failed or (allow_partial and can_go_on):
        return
    remedy = (
        f"the others are kept; {AGAIN}, makes what is missing; `aggregate.allow_partial` accepts "
        "results without it"
        if can_go_on
        else f"without any shard there is no result; once the cause is gone, {AGAIN}, makes them"
    )
    lines = [f"  shard {outcome.job.shard.index}: {_reason(outcome)}" for outcome in failed]
    count = f"{len(failed)} of {len(prediction.outcomes)} shards failed"
    raise ShardsFailedError("\n".join([f"{count} ({remedy}):", *lines]))


def _summarize(outcome: ShardOutcome) -> dict[str, Any]:
    # Row numbers in the input; a shard's own numbering leaves out rejects.
    rows = outcome.job.read_ids()
    return {
        "shard": outcome.job.shard.index,
        "rows": outcome.job.shard.rows,
        "first_row": rows[0]["row"],
        "last_row": rows[-1]["row"],
        "error": _reason(outcome),
    }


def _reason(outcome: ShardOutcome) -> str:
    return outcome.error or "unknown reason"
