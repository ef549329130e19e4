"""The aggregate stage: join the shards in input order, score them, and report on the run."""

from __future__ import annotations

import logging
import time
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE

from tasks.aggregate.deliver import deliver, write_questions
from tasks.aggregate.gate.check import check_quality, is_failing, suspicion
from tasks.aggregate.joining.endings import find_eos
from tasks.aggregate.joining.kept import Kept
from tasks.aggregate.metrics import describe_dropped, describe_quality, make_metrics
from tasks.aggregate.new_rows import write_new_rows
from tasks.aggregate.outputs import write_predictions
from tasks.aggregate.partial import Missing
from tasks.aggregate.rejects import check_all_rejects
from tasks.errors import describe_error
from tasks.evaluation.evaluate import EvaluationDetails, evaluate
from tasks.load.parts import REJECTS_FILE, DatasetDetails
from tasks.parallel.rows import RowHelpers
from tasks.plan.plan import Plan
from tasks.plan.stage_result import StageResult, TimeSpan
from tasks.predict.jobs import Prediction
from tasks.quality.quality_file import write_quality
from tasks.report.write import write_report
from tasks.runs.find import name_origins
from tasks.runs.results import QUALITY_FILE, find_predictions
from tasks.runs.run import Run
from tasks.store.manifest import Manifest

logger = logging.getLogger("wenti.aggregate")


def aggregate(
    plan: Plan,
    run: Run,
    export: StageResult,
    dataset: StageResult,
    prediction: Prediction,
    delivers: bool = True,
) -> dict[str, Any]:
    """Write a run's results, `_SUCCESS` last, and return the content of metrics.json.

    A run that fails because it is suspect has all results but `_SUCCESS`; see `raise_if_suspect`.
    The results are marked as partial if shards are missing; the caller has checked that this is
    allowed. With `delivers`, they are also written where the config asks for them outside of the
    store.

    Raises:
        InputError: more rows are rejected than `dataset.max_rejected` allows.
        ShardsFailedError: with the rows of missing shards, more are rejected than it allows.
        StoreCorruptionError: a shard or the dataset is damaged, or predictions and rejects together
            are not the rows of the input.
        StorageError: the results cannot be written.
        WorkerError: a helper died.
    """
    started = time.monotonic()
    missing = Missing(tuple(prediction.missing))
    if missing.is_partial:
        logger.warning("partial results: %d rows are missing; they are rejects", missing.rows)
    kept, scores, quality = _write_results(plan, run, dataset.manifest, prediction, missing)
    if flagged := describe_quality(quality):
        logger.info("quality: %s", flagged)
    if kept.dropped:
        logger.info(
            "dropped by aggregate.keep: %s", describe_dropped(kept.dropped, quality["rows"])
        )
    new = write_new_rows(plan, run, missing.is_partial)
    write_questions(plan, run)
    seconds = {
        "export": export.span.seconds,
        "load": dataset.span.seconds,
        "predict": prediction.span.seconds,
    }
    reused_from = name_origins(plan.store, prediction.origins, run.folder.name)
    price = plan.settings.predict.price_per_device_hour
    metrics = make_metrics(
        dataset.manifest, prediction, kept.dropped, scores.model_dump(), seconds, reused_from, price
    )
    metrics |= {"quality": quality, "groups": _describe_groups(plan, run), **new}
    metrics["gate"] = check_quality(plan, run, metrics)
    fails = is_failing(plan.settings.quality, metrics)
    if delivers and not fails:
        deliver(plan, run, DatasetDetails.of(dataset.manifest).rows_in, missing)
    elif not fails and (plan.settings.aggregate.output or plan.settings.aggregate.data_set):
        logger.info("a repair leaves aggregate.output_path and aggregate.output_folder as they are")
    metrics["stage_seconds"]["aggregate"] = round(TimeSpan.since(started).seconds, 2)
    for stage in (export, dataset):
        run.note_stage(stage.stage, stage.span.started, stage.made.is_reused)
    run.note_stage("predict", prediction.span.started)
    run.note_stage("aggregate", started)
    logger.info("aggregate: writing the report")
    write_report(run.folder, run.record, metrics)
    if fails:
        run.fail(describe_error(suspicion(run, metrics)), metrics)
    else:
        run.succeed(metrics)
    return metrics


def _write_results(
    plan: Plan, run: Run, dataset: Manifest, prediction: Prediction, missing: Missing
) -> tuple[Kept, EvaluationDetails, dict[str, Any]]:
    """Write the predictions and their quality; return what was kept, and the metrics of both."""
    logger.info("aggregate: joining the shards")
    with RowHelpers(DatasetDetails.of(dataset).rows_in) as helpers:
        eos = find_eos(plan)
        kept = write_predictions(plan, dataset, prediction, missing, run.folder, eos, helpers)
        limit = plan.settings.dataset.max_rejected
        check_all_rejects(limit, dataset, prediction, run.folder / REJECTS_FILE)
        logger.info("aggregate: computing the metrics")
        predictions, place = find_predictions(run.folder), run.folder / QUALITY_FILE
        scores = evaluate(plan, predictions, kept.predictions, helpers)
        quality = kept.quality
        if quality is None:
            quality = write_quality(plan, predictions, kept.predictions, place, helpers)
    return kept, scores, quality


def _describe_groups(plan: Plan, run: Run) -> dict[str, Any] | None:
    if plan.settings.aggregate.group_by is None:
        return None
    from tasks.aggregate.groups import describe_groups  # imports pandas, which takes a while

    return describe_groups(plan, run.folder)


aggregate_task = Task(
    aggregate, name="aggregate", task_run_name="aggregate the shards", cache_policy=NO_CACHE
)
