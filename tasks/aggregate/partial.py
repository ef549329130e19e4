"""Partial results, without some shards: when they are allowed, and what is missing."""

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

REASONS = {"failed": "shard_failed", "left out": "shard_left_out"}
"""Why a row of a missing shard is rejected, by the state of the shard."""

AGAIN = "the same command, or Retry on the run's page in Prefect"
RERUN = "a rerun without chosen shards"
REMEDY = "run the same config again: it makes what is missing, and its results are complete"
LEFT_OUT = "left out of this rerun, which made only chosen shards"


@dataclass(frozen=True)
class Missing:
    """The shards that are missing from a result because they failed or were left out."""

    outcomes: tuple[ShardOutcome, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Whether any shard is missing."""
        return bool(self.outcomes)

    @property
    def rows(self) -> int:
        """The number of missing rows."""
        return sum(outcome.job.shard.rows for outcome in self.outcomes)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Which rows of the input are missing and why, as JSON types."""
        return {
            "rows_missing": self.rows,
            "shards": [_summarize(outcome) for outcome in self.outcomes],
            "remedy": REMEDY,
        }

    def rejects(self) -> Iterator[dict[str, Any]]:
        """Yield the missing rows in the columns of `tasks.store.tables.REJECTS`, in input order."""
        for outcome in self.outcomes:
            why = {"reason": REASONS[outcome.state], "detail": _reason(outcome)}
            for row in outcome.job.read_ids():
                yield {**row, "line": None, **why}

    def mark(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema with the summary in its metadata; unchanged if nothing is missing."""
        if not self.is_partial:
            return schema
        return schema.with_metadata({METADATA_KEY: json.dumps(self.summary, ensure_ascii=False)})


def raise_if_missing(prediction: Prediction, allow_partial: bool) -> None:
    """Raise if shards are missing, unless `allow_partial` is set and there are others.

    Raises:
        ShardsFailedError: lists every shard that failed, and why, and those that were left out.
    """
    can_go_on = bool(prediction.manifests)
    if not prediction.missing or (allow_partial and can_go_on):
        return
    also = (
        "; `aggregate.allow_partial` accepts results without it"
        if can_go_on
        else "; without any shard there is no result"
    )
    raise ShardsFailedError(describe_missing(prediction, also))


def describe_missing(prediction: Prediction, also: str = "") -> str:
    """Return how many shards are missing and what makes them, and a line for each cause.

    `also` is added to the remedy.
    """
    failed, left_out = prediction.failed, prediction.left_out
    counts = [f"{len(failed)} of {len(prediction.outcomes)} shards failed"] if failed else []
    if left_out:
        of = "" if failed else f" of {len(prediction.outcomes)} shards"
        counts.append(f"{len(left_out)}{of} were left out")
    kept = "the others are kept; " if prediction.manifests else "once the cause is gone, "
    remedy = f"{kept}{RERUN if left_out else AGAIN} makes what is missing{also}"
    lines = [f"  shard {outcome.job.shard.index}: {_reason(outcome)}" for outcome in failed]
    if left_out:
        numbers = name_shards([outcome.job.shard.index for outcome in left_out])
        lines.append(f"  shards {numbers}: {LEFT_OUT}")
    return "\n".join([f"{', '.join(counts)} ({remedy}):", *lines])


def name_shards(numbers: list[int]) -> str:
    """Return ascending shard numbers as `wenti rerun --shards` takes them, such as `3,7-9`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)


def _summarize(outcome: ShardOutcome) -> dict[str, Any]:
    # Row numbers in the input; a shard's own numbering leaves out rejects.
    rows = outcome.job.read_ids()
    return {
        "shard": outcome.job.shard.index,
        "state": outcome.state,
        "rows": outcome.job.shard.rows,
        "first_row": rows[0]["row"],
        "last_row": rows[-1]["row"],
        "error": _reason(outcome),
    }


def _reason(outcome: ShardOutcome) -> str:
    return LEFT_OUT if outcome.is_left_out else outcome.error or "unknown reason"
