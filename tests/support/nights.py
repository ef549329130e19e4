"""Runs of one config in a store, written by the tests: run.json, metrics.json and `_SUCCESS`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.quality.flags import FLAGS
from tasks.runs.results import METRICS_FILE, RUN_FILE, SUCCESS_FILE
from tasks.runs.run import commit_json
from tasks.store.layout import Store
from tests.support.run_records import least_record

CONFIG = "/jobs/nightly.yaml"
DECIDED: dict[str, Any] = {
    "export": {"model": {"model_state.pdparams": "aa"}, "decode": {"num_beams": 4}},
    "dataset": {"template": 1, "passages": {"kind": ".jsonl", "sha256": "bb"}},
    "predictions": {"export": "e", "dataset": "d", "batch_size": 16},
}


def metrics_of(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what metrics.json says of a night; `flags` replaces some of the flags."""
    flags = {**dict.fromkeys(FLAGS, 0), "duplicate": 8, **changes.pop("flags", {})}
    quality = {
        "rows": 900,
        "flagged_rows": sum(flags.values()),
        "flags": flags,
        "means": {"score_per_token": -0.125},
    }
    counts = {"rows_in": 1000, "predictions": 900, "rejects": 100, "rows_made": 500}
    return {**counts, "quality": quality, "bleu_4": 41.5, "rouge_l": 52.25, "cost": 1.5} | changes


def decided_by(**changes: dict[str, Any]) -> dict[str, Any]:
    """Return `DECIDED` with some values of a stage replaced."""
    return {stage: {**value, **changes.get(stage, {})} for stage, value in DECIDED.items()}


def write_night(store: Store, number: int, metrics: dict[str, Any] | None, **record: object) -> str:
    """Write the run of a night; without metrics, one that failed. Return its id."""
    started = datetime(2026, 11, 1, 1, 30, tzinfo=UTC) + timedelta(days=number)
    ended = (started + timedelta(seconds=60 + number)).isoformat()
    run_id = f"{started:%Y%m%d-%H%M%S}-{number:06x}"
    folder = Path(store.run_folder(run_id))
    state = "failed" if metrics is None else "completed"
    given = {"config_file": CONFIG, "decided_by": DECIDED, "state": state, "ended": ended, **record}
    begun = {"started": record.get("started", started.isoformat())}
    commit_json(folder / RUN_FILE, least_record(run_id, **given) | begun)
    if metrics is not None:
        commit_json(folder / METRICS_FILE, metrics)
        commit_json(folder / SUCCESS_FILE, {})
    return run_id


def write_nights(store: Store) -> list[str]:
    """Write a month: beams are changed, a night fails, and one with a new model is suspect."""
    ids = []
    for number in range(24):
        beams = {"decode": {"num_beams": 6 if number >= 9 else 4}}
        passages = {"passages": {"kind": ".jsonl", "sha256": f"night {number}"}}
        decided = decided_by(export=beams, dataset=passages)
        flags = {"unfinished": number % 4, "duplicate": 8 + number % 5}
        metrics = metrics_of(flags=flags, rows_in=1000 + 10 * number, cost=1 + number % 3 / 4)
        if number == 13:
            full = "StorageError: the disk is full"
            ids.append(write_night(store, number, None, decided_by=decided, error=full))
            continue
        suspect = {}
        if number == 20:
            decided["export"]["model"] = {"model_state.pdparams": "cc"}
            suspect, flags = {"suspect": True}, {**flags, "unfinished": 310, "repetitive": 120}
            metrics = metrics_of(flags=flags, bleu_4=12.5)
            metrics["quality"]["means"]["score_per_token"] = -0.91
        ids.append(write_night(store, number, metrics, decided_by=decided, **suspect))
    return ids
