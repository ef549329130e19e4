"""The flow: export the model and load the passages, predict what is missing, aggregate."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.futures import as_completed
from prefect.runtime import flow_run

from flows.artifacts import rows_artifact, show_results, show_shards, show_trend
from flows.deployments.permitted import find_permissions, load_permitted
from flows.names import tag_run, typed_name
from flows.outcome import failed_state, final_state, stopped_state
from flows.parameters import (
    NO_OVERRIDES,
    STORE,
    Config,
    Overrides,
    StoreFolder,
    exact_value,
    plain_flow,
)
from flows.prepare import log_changes, prepared
from flows.run_context import (
    find_stop,
    flow_run_id,
    is_left_to_prefect,
    job_name,
    schedule_zone,
    scheduled_day,
    send_logs,
)
from flows.server.connection import STOPPING
from tasks.addresses import place_at
from tasks.aggregate.gate.check import raise_if_suspect
from tasks.aggregate.partial import raise_if_missing
from tasks.aggregate.task import aggregate_task
from tasks.config.paths import with_date
from tasks.config.settings import Settings
from tasks.errors import StorageError, WentiError, describe_error
from tasks.export.task import export_task
from tasks.load.task import load_task
from tasks.operations.rerun import parse_shards, plan_rerun
from tasks.plan.model import download_into
from tasks.plan.plan import Plan
from tasks.plan.stage_result import StageResult
from tasks.predict.early.work import EarlyWork
from tasks.predict.jobs import Selection, plan_jobs
from tasks.predict.progress import Progress, current_display
from tasks.predict.task import predict_missing
from tasks.processes import stop_children
from tasks.retry import DOWNLOAD_DELAYS_SECONDS, task_retries
from tasks.runs.run import Run
from tasks.store.layout import Store
from tasks.system_errors import machine_faults

logger = logging.getLogger("wenti.flow")

download_task = Task(
    download_into,
    name="download",
    task_run_name="download {model.model_name_or_path}",
    cache_policy=NO_CACHE,
    **task_retries(DOWNLOAD_DELAYS_SECONDS),
)


def name_run() -> str:
    """Return a run's name in the UI, such as question-generation/nightly/2026-11-23/3f9a.

    A name that somebody has typed is kept.
    """
    if (typed := typed_name()) is not None:
        return typed
    parameters = flow_run.parameters
    day = parameters.get("day") or scheduled_day()
    return _name(job_name() or Path(parameters["config"]).stem, str(day))


def name_rerun() -> str:
    """Return a rerun's name in the UI, such as rerun/20261123-010003-ab12cd/3f9a, unless typed."""
    return typed_name() or _name(Path(flow_run.parameters["run"]).name)


def _name(*parts: str) -> str:
    return "/".join((flow_run.flow_name, *parts, flow_run.id[-4:]))


@plain_flow("question-generation", name_run)
def question_generation(
    config: Config, day: date | None = None, overrides: Overrides = NO_OVERRIDES
) -> dict[str, Any]:
    """Generate a question for every passage: export and load, predict in shards, aggregate.

    Args:
        config: The name of a config. (In prefect.yaml, it may be the path of a YAML file.)
        day: The day that {date} in a path stands for. By default, the day for which the run is
            scheduled, in the time zone of its schedule.
        overrides: Values that override the config, by section and key. Empty: as in the config.

    Returns:
        `folder`, the folder of the results, and `metrics`, the content of metrics.json.

    Raises:
        UnusableError: the config, the input or the machine must be corrected first.
        ShardsFailedError: some shards failed; run again to make them.
        SuspectError: the questions are beyond a limit of the config.
        WentiError: anything else that ends a run, such as a full disk.
    """
    send_logs()
    try:
        given = exact_value("config", config), exact_value("overrides", overrides)
        path, settings = load_permitted(*given)
        settings = on_day(settings, day)
        tag_run(settings, path, day or scheduled_day())
        with machine_faults(), prepared(settings, path, download_task) as plan:
            config_file = str(path.absolute())
            log_changes(plan, path)
            return carry_out(plan, Selection(), config_file)
    except WentiError as error:
        return failed_state(error)
    except TerminationSignal:
        if is_left_to_prefect():
            raise
        return stopped_state(find_stop())


def on_day(settings: Settings, day: date | None) -> Settings:
    """Return the settings on a day, by default that of the run; log the day if it is used."""
    dated = with_date(settings, day or scheduled_day())
    if dated != settings:
        zone = schedule_zone() or "the time zone of this machine"
        logger.info("{date} is %s", day or f"{scheduled_day()}, the day of the run in {zone}")
    return dated


@plain_flow("rerun", name_rerun)
def rerun(
    run: str = "newest",
    store: StoreFolder = STORE,
    shards: str = "",
    only_failed: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Remake what is missing from a run, or chosen shards of it, with the config of that run.

    Args:
        run: A run id, such as 20261123-010003-ab12cd; the Flow Run ID on the run's page here; the
            run's folder; newest, the run that started last; or latest, the complete run that ended
            last.
        store: The folder of the store.
        shards: The numbers of the shards to make, such as 3,7-9. By default, all missing shards.
        only_failed: Only the shards that failed in that run.
        force: Remake the shards even if the store has them.

    Returns:
        The same as `question_generation`, for the new run.

    Raises:
        UnusableError: there is no such run, or its inputs have changed.
        ShardsFailedError: some shards failed or were left out; run again to make them.
        SuspectError: the questions are beyond a limit of the config.
        WentiError: anything else that ends a run, such as a full disk.
    """
    return remake(run, store, shards, only_failed=only_failed, force=force)


def remake(
    run: str,
    store: str,
    shards: str = "",
    *,
    only_failed: bool = False,
    force: bool = False,
    delivers: bool = True,
) -> dict[str, Any]:
    """Do what `rerun` does; without `delivers`, nothing is written outside of the store.

    Returns:
        What the flow returns: the result of `rerun`, or the state of a run that failed.
    """
    send_logs()
    try:
        permissions = find_permissions()
        if permissions is not None:
            permissions.check_rerun(run, store, STORE)
        chosen = parse_shards(shards or None)
        root = Store(place_at(exact_value("store", store)))
        again = plan_rerun(exact_value("run", run), root, chosen, only_failed, force)
        record = again.record
        tag_run(again.settings, None if record.config_file is None else Path(record.config_file))
        preparing = prepared(again.settings, download=download_task, delivers=delivers)
        with machine_faults(), preparing as plan:
            again.check(plan)
            file = record.config_file
            return carry_out(plan, again.selection, file, record.run_id, delivers=delivers)
    except WentiError as error:
        return failed_state(error)
    except TerminationSignal:
        if is_left_to_prefect():
            raise
        return stopped_state(find_stop())


def carry_out(
    plan: Plan,
    selection: Selection,
    config_file: str | None,
    rerun_of: str | None = None,
    *,
    delivers: bool = True,
) -> dict[str, Any]:
    """Make what is selected and missing, and write the results into the run's folder.

    With `delivers`, they are also written where the config asks for them outside of the store.
    """
    run = Run.start(plan, flow_run_id=flow_run_id(), config_file=config_file, rerun_of=rerun_of)
    logger.info("run %s in %s", run.record.run_id, run.folder)
    with rows_artifact(run) as artifact, recorded(run), machine_faults():
        progress = Progress(artifact.follow, current_display(plan.settings.predict.logging_steps))
        with EarlyWork(plan, run, selection, progress) as early:
            export, dataset = _make_inputs(plan, run, early)
            jobs = plan_jobs(plan, dataset.manifest)
            prediction = predict_missing(plan, run, jobs, selection, progress, early)
        show_shards(run, prediction)
        raise_if_missing(prediction, plan.settings.aggregate.allow_partial)
        metrics = aggregate_task(plan, run, export, dataset, prediction, delivers)
        show_results(plan, run, metrics)
        show_trend(run)
        raise_if_suspect(plan, run, metrics)
        return final_state(run, metrics)


def _make_inputs(plan: Plan, run: Run, early: EarlyWork) -> tuple[StageResult, StageResult]:
    """Return the export and the dataset of a run, which are made at the same time."""
    exporting = export_task.submit(plan, run.claims)
    loading = load_task.submit(plan, run.claims, early.hear)
    for future in as_completed([exporting, loading]):
        future.result()  # a fault of one ends the run before the other is done
        if future is exporting:
            early.note_export()
    results = exporting.result(), loading.result()
    for result in results:
        logger.info("%s", result)
    return results


@contextmanager
def recorded(run: Run) -> Iterator[None]:
    """If the block raises, record in run.json how the run ended, before anything asks the server.

    A server that is away is asked for minutes, and what stops a run may kill it before.
    """
    try:
        with run.claims.beating():
            yield
    except BaseException as error:
        stop_children()
        with suppress(StorageError):  # the cause may be a full disk
            if run.is_complete:  # only what shows it was disturbed; its files must not change
                pass
            elif isinstance(error, Exception):
                run.fail(describe_error(error))
            else:
                run.interrupt(_describe_stop(error))
        if not isinstance(error, Exception):
            STOPPING.set()
        raise


def _describe_stop(error: BaseException) -> str:
    if isinstance(error, TerminationSignal):
        return find_stop()
    return f"stopped by {str(error) or 'Ctrl-C'}"  # `flows.cli.main` puts the signal's name in it
