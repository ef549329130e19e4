"""The one flow: export the model and load the passages, predict what is missing, aggregate."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run

from flows.artifacts import (
    failed_state,
    final_state,
    rows_artifact,
    show_results,
    show_shards,
    stopped_state,
)
from flows.parameters import NO_OVERRIDES, Config, Overrides
from flows.prepare import prepared
from flows.run_context import flow_run_id, is_serve_stopped, scheduled_day, send_logs
from tasks.aggregate.partial import raise_if_failed
from tasks.aggregate.task import aggregate_task
from tasks.config.loading import find_config, load_settings
from tasks.config.paths import with_date
from tasks.errors import StorageError, WentiError, describe_error
from tasks.export.task import export_task
from tasks.load.task import load_task
from tasks.operations.rerun import parse_shards, plan_rerun
from tasks.plan.changes import find_changes
from tasks.plan.plan import Plan
from tasks.predict.jobs import Selection, plan_jobs
from tasks.predict.progress import Progress, current_display
from tasks.predict.shards import has_shards
from tasks.predict.task import predict_missing
from tasks.processes import stop_children
from tasks.runs.find import find_previous
from tasks.runs.run import Run
from tasks.store.layout import Store

logger = logging.getLogger("wenti.flow")


def name_run() -> str:
    """Return a run's name in the UI, such as question-generation/dureader_qg/2026-11-23/3f9a."""
    parameters = flow_run.parameters
    day = parameters.get("day") or scheduled_day()
    return _name(Path(parameters["config"]).stem, str(day))


def name_rerun() -> str:
    """Return a rerun's name in the UI, such as rerun/20261123-010003-ab12cd/3f9a."""
    return _name(Path(flow_run.parameters["run"]).name)


def _name(*parts: str) -> str:
    return "/".join((flow_run.flow_name, *parts, flow_run.id[-4:]))


# No retries of a whole run, whatever PREFECT_FLOWS_DEFAULT_RETRIES says: shards have their own, and
# anything else that ends a run has to be corrected by somebody first.
@flow(name="question-generation", flow_run_name=name_run, retries=0)
def question_generation(
    config: Config, day: date | None = None, overrides: Overrides = NO_OVERRIDES
) -> dict[str, Any]:
    """Generate a question for every passage: export and load, predict in shards, aggregate.

    Args:
        config: The name of a config, or the path of a YAML file.
        day: What {date} in a path stands for. Left out, it is the day the run was scheduled for.
        overrides: What wins over the config, by section and key. What is left out is as there.

    Returns:
        `folder`, where the run left its results, and `metrics`, what metrics.json holds.

    Raises:
        UnusableError: the config, the input or the machine must change first.
        ShardsFailedError: some shards failed; run again to make them.
    """
    send_logs()
    try:
        path = find_config(config)
        settings = with_date(load_settings(path, overrides), day or scheduled_day())
        with prepared(settings) as plan:
            config_file = str(path.absolute())
            tell_changes(plan, config_file)
            return carry_out(plan, Selection(), config_file)
    except WentiError as error:
        return failed_state(error)
    except TerminationSignal:
        if is_serve_stopped():
            return stopped_state()
        raise


@flow(name="rerun", flow_run_name=name_rerun, retries=0)
def rerun(
    run: str = "latest",
    store: str = "wenti-store",
    shards: str = "",
    only_failed: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Make again what a run lacks, or chosen shards of it, from the config that it has kept.

    Args:
        run: A run id, such as 20261123-010003-ab12cd, or the Flow Run ID on the run's page here; a
            run's folder; or latest.
        store: The folder of the store.
        shards: Numbers of the shards to make, such as 3,7-9. Left out, all that are missing.
        only_failed: Only the shards that failed in that run.
        force: Make them anew even if the store has them.

    Returns:
        As `question_generation`, of the new run.

    Raises:
        UnusableError: there is no such run, or what it was made from has changed.
        ShardsFailedError: some shards failed or were left out; run again to make them.
    """
    send_logs()
    try:
        chosen = parse_shards(shards or None)
        again = plan_rerun(run, Store(Path(store)), chosen, only_failed, force)
        record = again.record
        with prepared(again.settings) as plan:
            again.check(plan)
            return carry_out(plan, again.selection, record.config_file, record.run_id)
    except WentiError as error:
        return failed_state(error)
    except TerminationSignal:
        if is_serve_stopped():
            return stopped_state()
        raise


def carry_out(
    plan: Plan, selection: Selection, config_file: str | None, rerun_of: str | None = None
) -> dict[str, Any]:
    """Make what is selected and missing, and put the results into a folder of their own."""
    with recorded(plan, config_file, rerun_of) as run:
        exporting = export_task.submit(plan, run.claims)
        loading = load_task.submit(plan, run.claims)
        export, dataset = exporting.result(), loading.result()
        for result in (export, dataset):
            logger.info("%s", result)
        jobs = plan_jobs(plan, dataset.manifest)
        with rows_artifact(run) as artifact:
            display = current_display(plan.settings.predict.logging_steps)
            progress = Progress(artifact.follow, display)
            prediction = predict_missing(plan, run, jobs, selection, progress)
        show_shards(run, prediction)
        raise_if_failed(prediction, plan.settings.aggregate.allow_partial)
        metrics = aggregate_task(plan, run, export, dataset, prediction)
        show_results(plan, run, metrics)
        return final_state(run, metrics)


@contextmanager
def recorded(plan: Plan, config_file: str | None, rerun_of: str | None = None) -> Iterator[Run]:
    """Start a run, and write into its run.json how it ended if the block does not succeed."""
    run = Run.start(plan, flow_run_id=flow_run_id(), config_file=config_file, rerun_of=rerun_of)
    logger.info("run %s in %s", run.record.run_id, run.folder)
    try:
        with run.claims.beating():
            yield run
    except BaseException as error:
        stop_children()
        with suppress(StorageError):  # what ended the run may be a full disk
            if isinstance(error, Exception):
                run.fail(describe_error(error))
            else:  # Prefect's TerminationSignal says nothing
                run.interrupt(_describe_stop(error))
        raise


def _describe_stop(error: BaseException) -> str:
    if not isinstance(error, KeyboardInterrupt):
        return "cancelled"
    return f"stopped by {str(error) or 'Ctrl-C'}"  # the name of another signal


def tell_changes(plan: Plan, config_file: str) -> None:
    """Log what has changed since the last run of the same config file, and what follows."""
    before = find_previous(plan.store, config_file)
    if before is None or before.decided_by is None:
        return
    is_there = {
        "export": plan.export.is_there,
        "dataset": plan.dataset.is_there,
        "predictions": has_shards(plan.predictions.folder),
    }
    changes = find_changes(before.decided_by, plan.decided_by, is_there)
    if changes:
        logger.info("since run %s:", before.run_id)
    for change in changes:
        logger.info("  %s", change)
