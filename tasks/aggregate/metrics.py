"""What metrics.json says of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.predict.jobs import Prediction, ShardOutcome
from tasks.store.manifest import Manifest


def make_metrics(
    dataset: Manifest,
    prediction: Prediction,
    scores: Mapping[str, Any],
    stage_seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Count rows, shards and tokens of the whole result, and the speed of this run.

    The result is `partial` if shards failed; their rows, `rows_missing`, are among the `rejects`.
    `padding_share` is the share of padding among the tokens that the batches were made of.
    `rows_per_second` counts the rows that this run generated; null when it generated none.
    `devices` tells of each worker of this run how many shards and rows it made, in how many
    seconds, and what it took: on a GPU the card's memory and utilisation, on the CPU the memory
    and the seconds of computing of its process; in MB of 10^6 bytes.
    """
    manifests = prediction.manifests
    rejects = sum(len(manifest.details["rejects"]) for manifest in manifests)
    padded = _total(manifests, "padded_tokens")
    rows_made, rows_missing = _rows(prediction.made), _rows(prediction.failed)
    return {
        "rows_in": dataset.details["rows_in"],
        "predictions": _total(manifests, "rows"),
        "rejects": dataset.details["rejects"] + rejects + rows_missing,
        "partial": bool(prediction.failed),
        "rows_missing": rows_missing,
        "shards_planned": len(prediction.outcomes),
        "shards_reused": len(prediction.reused),
        "shards_made": len(prediction.made),
        "shards_failed": len(prediction.failed),
        **scores,
        "input_tokens": _total(manifests, "input_tokens"),
        "output_tokens": _total(manifests, "output_tokens"),
        "padding_share": round(1 - _total(manifests, "input_tokens") / padded, 4) if padded else 0,
        "rows_per_second": round(rows_made / prediction.span.seconds, 2) if rows_made else None,
        "devices": prediction.devices,
        "stage_seconds": {stage: round(value, 2) for stage, value in stage_seconds.items()},
    }


def _rows(outcomes: list[ShardOutcome]) -> int:
    return sum(outcome.job.shard.rows for outcome in outcomes)


def _total(manifests: list[Manifest], detail: str) -> int:
    return sum(manifest.details[detail] for manifest in manifests)
