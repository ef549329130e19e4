"""The content of metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.aggregate.rejects import count_rejects
from tasks.load.parts import DatasetDetails
from tasks.load.rules import describe_counts, describe_share
from tasks.predict.jobs import Prediction, ShardOutcome
from tasks.predict.shards import ShardDetails
from tasks.quality.keep import PREFIX
from tasks.store.manifest import Manifest


def make_metrics(
    dataset: Manifest,
    prediction: Prediction,
    dropped: Mapping[str, int],
    scores: Mapping[str, Any],
    stage_seconds: Mapping[str, float],
    reused_from: Mapping[str, int],
    price: float | None = None,
) -> dict[str, Any]:
    """Return the numbers of rows, shards and tokens of the whole result, and this run's speed.

    `dropped` are the questions that `aggregate.keep` dropped, by reason. The result is `partial` if
    shards failed or were left out; `rejects` includes their rows, `rows_missing`, and the dropped
    ones, `rows_dropped`. `reject_share` does not include the latter; it is 0 to 1. `cut_rows`,
    `cut` (by what was cut off) and `unknown_tokens` count the accepted rows; null if an older
    version loaded them, as for `multiline_rows`: rows of CSV that have several lines, the first
    ones in `multiline_at`. `rows_made` counts the rows that this run generated, `rows_reused` those
    whose questions came from the store or from an equal row of the same shard; `reused_from` has
    the former by the run that they come from. `padding_share` is the share of padding in the tokens
    of the batches, 0 to 1. `rows_per_second` counts only rows that this run generated; null if it
    generated none. `devices` has for each worker of this run the shards and rows it made, the
    seconds it was busy, and its usage: on a GPU the card's memory and utilisation, on the CPU the
    memory and CPU seconds of the process. Memory is in MB of 10^6 bytes. `cost` is that of the
    time in which the devices were busy, at the `price` of an hour; null without a price.
    """
    of_dataset = DatasetDetails.of(dataset)
    shards = [ShardDetails.of(manifest) for manifest in prediction.manifests]
    reject_reasons = count_rejects(dataset, prediction)
    unusable, rows_dropped = sum(reject_reasons.values()), sum(dropped.values())
    input_tokens = sum(shard.input_tokens for shard in shards)
    padded_tokens = sum(shard.padded_tokens for shard in shards)
    rows_missing = _rows(prediction.missing)
    rows_reused = prediction.rows_reused
    rows_made = _rows(prediction.made) + _rows(prediction.reused) - rows_reused
    return {
        "rows_in": of_dataset.rows_in,
        "predictions": sum(shard.rows for shard in shards) - rows_dropped,
        "rejects": unusable + rows_dropped,
        "reject_share": round(unusable / of_dataset.rows_in, 4),
        "reject_reasons": dict(sorted({**reject_reasons, **dropped}.items())),
        "rows_dropped": rows_dropped,
        "cut_rows": of_dataset.cut_rows,
        "cut": of_dataset.cut,
        "unknown_tokens": of_dataset.unknown_tokens,
        "unknown_rows": of_dataset.unknown_rows,
        "multiline_rows": of_dataset.multiline_rows,
        "multiline_at": of_dataset.multiline_at,
        "partial": bool(prediction.missing),
        "rows_missing": rows_missing,
        "rows_made": rows_made,
        "rows_reused": rows_reused,
        "reused_from": dict(reused_from),
        "shards_planned": len(prediction.outcomes),
        "shards_reused": len(prediction.reused),
        "shards_made": len(prediction.made),
        "shards_failed": len(prediction.failed),
        "shards_left_out": len(prediction.left_out),
        **scores,
        "input_tokens": input_tokens,
        "output_tokens": sum(shard.output_tokens for shard in shards),
        "padding_share": round(1 - input_tokens / padded_tokens, 4) if padded_tokens else 0,
        "rows_per_second": round(rows_made / prediction.span.seconds, 2) if rows_made else None,
        "devices": prediction.devices,
        "cost": find_cost(prediction.devices, price),
        "stage_seconds": {stage: round(value, 2) for stage, value in stage_seconds.items()},
    }


def find_cost(devices: Mapping[str, Mapping[str, Any]], price: float | None) -> float | None:
    """Return what the work of some devices has cost, at the price of an hour of one.

    A device counts while it makes shards, as metrics.json has it in `busy_seconds`.
    """
    if price is None:
        return None
    seconds = sum(figures["busy_seconds"] for figures in devices.values())
    return float(round(price * seconds / 3600, 4))


def describe_quality(quality: Mapping[str, Any]) -> str:
    """Return how many questions are flagged and why; empty if none is.

    `quality` is the part of the metrics that `tasks.quality.flags.summarize` returns.
    """
    if not quality["flagged_rows"]:
        return ""
    counts = {name: count for name, count in quality["flags"].items() if count}
    share = describe_share(quality["flagged_rows"], quality["rows"])
    return f"{share} flagged: {describe_counts(counts)}"


def describe_dropped(dropped: Mapping[str, int], questions: int) -> str:
    """Return how many of all questions `aggregate.keep` dropped, and why, by reason."""
    counts = {reason.removeprefix(PREFIX): rows for reason, rows in dropped.items()}
    share = describe_share(sum(dropped.values()), questions)
    return f"{share}: {describe_counts(counts)}"


def _rows(outcomes: list[ShardOutcome]) -> int:
    return sum(outcome.job.shard.rows for outcome in outcomes)
