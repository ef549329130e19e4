"""The one flow: export the model and load the passages, predict what is missing, aggregate."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect import flow

from tasks.aggregate import aggregate_task
from tasks.child import stop_children
from tasks.config import load_settings
from tasks.dataset import load_task
from tasks.errors import ShardsFailedError, StorageError
from tasks.export import export_task
from tasks.jobs import Prediction, plan_jobs
from tasks.plan import Plan
from tasks.predict import predict_missing
from tasks.preparation import prepare
from tasks.runs import Run

logger = logging.getLogger("wenti.flow")


@flow(name="question-generation")
def question_generation(config: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """Generate a question for every passage: export and load, predict in shards, aggregate.

    Args:
        config: path of a YAML config.
        overrides: `section.key=value` texts that win over the config.

    Returns:
        `folder`, where the run left its results, and `metrics`, what metrics.json holds.

    Raises:
        UnusableError: the config, the input or the machine must change first.
        ShardsFailedError: some shards failed; run again to make them.
    """
    plan = prepare(load_settings(Path(config), overrides or []))
    with recorded(plan) as run:
        exporting, loading = export_task.submit(plan), load_task.submit(plan)
        export, dataset = exporting.result(), loading.result()
        for result in (export, dataset):
            logger.info("%s", result)
        prediction = predict_missing(plan, plan_jobs(plan, dataset.manifest))
        raise_if_failed(prediction)
        metrics = aggregate_task(plan, run, export, dataset, prediction)
    return {"folder": str(run.folder), "metrics": metrics}


@contextmanager
def recorded(plan: Plan) -> Iterator[Run]:
    """Give a run's folder, and write into its run.json how it ended if it does not succeed."""
    run = Run.start(plan)
    logger.info("run %s in %s", run.record["run_id"], run.folder)
    try:
        yield run
    except BaseException as error:
        stop_children()
        is_fault = isinstance(error, Exception)  # else Ctrl-C, or Prefect cancels the flow
        with suppress(StorageError):  # what ended the run may be a full disk
            run.end("failed" if is_fault else "interrupted", error=_describe(error))
        raise


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def raise_if_failed(prediction: Prediction) -> None:
    """Make the flow fail, saying which shards are missing and why, if any is."""
    if not prediction.failed:
        return
    lines = [f"  shard {o.job.shard.index}: {o.error}" for o in prediction.failed]
    count = f"{len(prediction.failed)} of {len(prediction.outcomes)} shards failed"
    kept = "the others are kept; run the same command again to make what is missing"
    raise ShardsFailedError("\n".join([f"{count} ({kept}):", *lines]))
