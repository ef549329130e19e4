"""The predict stage as Prefect tasks: generate the shards that the store does not have."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from functools import partial
from typing import Any

from prefect import Task, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.errors import describe_error
from tasks.plan.plan import Plan
from tasks.plan.stage_result import TimeSpan
from tasks.predict.device_slots import slots
from tasks.predict.jobs import Prediction, Selection, ShardJob, ShardOutcome, look_up
from tasks.predict.known_rows import KnownRows, find_known_rows
from tasks.predict.progress import Progress
from tasks.predict.retry import DELAYS_SECONDS, JITTER, call_with_retries, is_retryable
from tasks.predict.shards import ShardDetails
from tasks.predict.workers.base import ShardPool
from tasks.predict.workers.local import make_local_workers
from tasks.predict.workers.pool import WorkerPool
from tasks.runs.run import Run
from tasks.store.claims import Made

logger = logging.getLogger("wenti.predict")

MOST_TASK_RUNS = 200
"""Prefect spends more CPU on a task run than a small shard takes, and its page shows no more."""


def _can_retry(task: Task[..., Made | None], run: TaskRun, state: State[Made | None]) -> bool:
    answer = state.result(raise_on_failure=False)
    return isinstance(answer, BaseException) and is_retryable(answer)


@task(
    name="predict shard",
    task_run_name="shard {job.shard.index} of {job.shard.count}",
    retries=len(DELAYS_SECONDS),
    retry_delay_seconds=list(DELAYS_SECONDS),
    retry_jitter_factor=JITTER,
    retry_condition_fn=_can_retry,
    cache_policy=NO_CACHE,
)
def predict_shard(job: ShardJob, pool: ShardPool, wait: bool) -> Made | None:
    """Return one shard, generated now unless the store has it; Prefect retries transient errors.

    While another run is making it, wait for that run or, without `wait`, return None at once.
    See `tasks.predict.workers.base.ShardPool.generate` for what it raises.
    """
    return pool.generate(job, wait)


def predict_missing(
    plan: Plan, run: Run, jobs: Sequence[ShardJob], selection: Selection, progress: Progress
) -> Prediction:
    """Generate the selected shards that the store does not have.

    Those that fail, and missing ones that are not selected, are outcomes, not errors.

    There is a thread for each worker, and each shard goes to an idle worker. Each shard is a task
    run of Prefect, unless there are more than `MOST_TASK_RUNS`. `progress` counts the rows that are
    not reused.

    Raises:
        InputError: the selection names a shard that does not exist.
    """
    started = time.monotonic()
    selection.check(jobs)
    outcomes = {job.shard.index: _look_up(job, selection) for job in jobs}
    run.journal.reused(
        {
            index: ShardDetails.of(one.manifest).row_counts
            for index, one in outcomes.items()
            if one.manifest is not None
        }
    )
    if reused := selection.find_reused(outcomes.values()):
        logger.warning(
            "already made, and reused: shard %s; --force (`force` in Prefect's UI) remakes it",
            ", ".join(map(str, reused)),
        )
    missing = [one.job for one in outcomes.values() if one.manifest is None and not one.is_left_out]
    devices: dict[str, dict[str, Any]] = {}
    if missing:
        progress.start(sum(job.shard.rows for job in missing))
        workers, deadline = make_local_workers(plan), plan.settings.predict.batch_deadline_seconds
        with slots([worker.device for worker in workers]):
            known = _find_known_rows(plan, missing[0], selection)
            pool = WorkerPool(workers, run, progress, selection.is_forced, known, deadline)
            outcomes |= {made.job.shard.index: made for made in _generate(pool, missing)}
        devices = pool.figures()
    return Prediction(list(outcomes.values()), TimeSpan.since(started), devices)


def _find_known_rows(plan: Plan, job: ShardJob, selection: Selection) -> KnownRows | None:
    if selection.is_forced or not plan.settings.shards.reuse_rows:
        return None
    return find_known_rows(plan, job.dataset)


def _look_up(job: ShardJob, selection: Selection) -> ShardOutcome:
    is_selected = selection.has(job)
    if is_selected and selection.is_forced:
        return ShardOutcome(job, None)
    manifest = look_up(job).manifest
    if manifest is not None:
        return ShardOutcome(job, manifest, is_reused=True)
    return ShardOutcome(job, None, is_left_out=not is_selected)


def _generate(pool: ShardPool, jobs: Sequence[ShardJob]) -> list[ShardOutcome]:
    """Make what nobody else is making, then wait for the rest or take it over."""
    threads: ThreadPoolTaskRunner[Made | None] = ThreadPoolTaskRunner(max_workers=pool.size)
    with threads, closing(pool):  # the pool closes first, so that no thread waits for a worker
        outcomes = _run_tasks(threads, pool, jobs, wait=False)
        others = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome is None]
        waited = _run_tasks(threads, pool, others, wait=True) if others else []
    return [outcome for outcome in (*outcomes, *waited) if outcome is not None]


def _run_tasks(
    threads: ThreadPoolTaskRunner[Made | None],
    pool: ShardPool,
    jobs: Sequence[ShardJob],
    wait: bool,
) -> list[ShardOutcome | None]:
    if len(jobs) > MOST_TASK_RUNS:
        return _run_plainly(pool, jobs, wait)
    parameters = {"job": jobs, "pool": unmapped(pool), "wait": unmapped(wait)}
    futures = threads.map(predict_shard, parameters)
    return [_outcome(job, _final_state(future)) for job, future in zip(jobs, futures, strict=True)]


def _run_plainly(
    pool: ShardPool, jobs: Sequence[ShardJob], wait: bool
) -> list[ShardOutcome | None]:
    """Make shards with the same retries, but without a task run of Prefect for each."""

    def attempt(job: ShardJob) -> Made | Exception | None:
        try:
            return call_with_retries(partial(pool.generate, job, wait))
        except Exception as error:
            return error

    threads = ThreadPoolExecutor(pool.size)
    try:
        # Each has a copy of the context, by which log lines find the flow run.
        futures = [threads.submit(copy_context().run, attempt, job) for job in jobs]
        return [
            _name_outcome(job, future.result()) for job, future in zip(jobs, futures, strict=True)
        ]
    except BaseException:
        pool.close()  # so that no thread waits for a worker
        raise
    finally:
        threads.shutdown(cancel_futures=True)


def _final_state(future: PrefectFuture[Any]) -> State[Made | None]:
    future.wait()
    return future.state


def _outcome(job: ShardJob, state: State[Made | None]) -> ShardOutcome | None:
    return _name_outcome(job, state.result(raise_on_failure=False))


def _name_outcome(job: ShardJob, answer: Made | BaseException | None) -> ShardOutcome | None:
    if answer is None:
        return None
    if isinstance(answer, Made):
        return ShardOutcome(job, answer.manifest, answer.is_reused)
    return ShardOutcome(job, None, error=describe_error(answer))
