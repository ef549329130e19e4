"""Aggregate: put the shards together in input order, score them, and say how the run went."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE

from tasks.evaluation import evaluate
from tasks.jobs import Prediction
from tasks.metrics import make_metrics
from tasks.outputs import PREDICTIONS_FILE, write_output, write_predictions
from tasks.plan import Plan
from tasks.runs import Run
from tasks.stage import StageResult


def aggregate(
    plan: Plan, run: Run, export: StageResult, dataset: StageResult, prediction: Prediction
) -> dict[str, Any]:
    """Write a run's results and give its metrics; its `_SUCCESS` is written last.

    Raises:
        StoreCorruptionError: input rows are not predictions plus rejects, each row once.
        StorageError: the results cannot be written.
    """
    started = time.monotonic()
    jobs = [outcome.job for outcome in prediction.outcomes]
    write_predictions(plan, dataset.manifest, jobs, prediction.manifests, run.folder)
    scores = evaluate(plan, run.folder / PREDICTIONS_FILE)
    if plan.settings.aggregate.output_path is not None:
        output_path = Path(plan.settings.aggregate.output_path).expanduser()
        write_output(run.folder / PREDICTIONS_FILE, output_path)
    seconds = {
        "export": export.seconds,
        "load": dataset.seconds,
        "predict": prediction.seconds,
        "aggregate": time.monotonic() - started,
    }
    metrics = make_metrics(dataset.manifest, prediction, scores, seconds)
    run.succeed(metrics)
    return metrics


aggregate_task = Task(aggregate, name="aggregate", cache_policy=NO_CACHE)
