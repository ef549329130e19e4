"""Predict: generate the shards that the store does not have, on one worker for each device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from prefect import task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff

from tasks.engine.gpu.driver import device_names
from tasks.errors import describe_error
from tasks.plan.plan import Plan
from tasks.predict.device_slots import slots
from tasks.predict.jobs import Prediction, Selection, ShardJob, ShardOutcome, look_up
from tasks.predict.progress import Progress
from tasks.predict.retry import can_retry
from tasks.predict.shards import ShardDetails
from tasks.predict.workers.pool import WorkerPool
from tasks.runs.run import Run
from tasks.store.claims import Made

LEFT_OUT = "left out of this rerun"


@task(
    name="predict shard",
    task_run_name="shard {job.shard.index} of {job.shard.count}",
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=can_retry,
    cache_policy=NO_CACHE,
)
def predict_shard(job: ShardJob, pool: WorkerPool, wait: bool) -> Made | None:
    """Generate one shard, unless the store has it by now; None if another run is just making it.

    With `wait`, wait for the other run. Prefect retries what a retry can cure.
    """
    return pool.generate(job, wait)


def predict_missing(
    plan: Plan, run: Run, jobs: Sequence[ShardJob], selection: Selection, progress: Progress
) -> Prediction:
    """Generate the shards that the store does not have; those that fail are outcomes, not errors.

    There is a Prefect thread for each worker, and each shard goes to a worker that is idle.
    `progress` hears of the rows that are not reused.

    Raises:
        InputError: the selection names a shard that there is not.
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
    missing = [one.job for one in outcomes.values() if one.manifest is None and one.error is None]
    devices: dict[str, dict[str, Any]] = {}
    if missing:
        progress.start(sum(job.shard.rows for job in missing))
        pool = WorkerPool(plan, run, progress, selection.is_forced)
        with slots(device_names(plan.settings.predict)):
            outcomes |= {made.job.shard.index: made for made in _generate(pool, missing)}
        devices = pool.figures()
    return Prediction(list(outcomes.values()), time.monotonic() - started, devices=devices)


def _look_up(job: ShardJob, selection: Selection) -> ShardOutcome:
    is_selected = selection.has(job)
    if is_selected and selection.is_forced:
        return ShardOutcome(job, None)
    manifest = look_up(job).manifest
    if manifest is not None:
        return ShardOutcome(job, manifest, is_reused=True)
    return ShardOutcome(job, None, error=None if is_selected else LEFT_OUT)


def _generate(pool: WorkerPool, jobs: Sequence[ShardJob]) -> list[ShardOutcome]:
    """Make what nobody else is making, then wait for the rest or take it over."""
    threads: ThreadPoolTaskRunner[Made | None] = ThreadPoolTaskRunner(max_workers=pool.size)
    with threads, closing(pool):  # the pool ends first: then no thread waits for a worker any more
        outcomes = _run_tasks(threads, pool, jobs, wait=False)
        others = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome is None]
        waited = _run_tasks(threads, pool, others, wait=True) if others else []
    return [outcome for outcome in (*outcomes, *waited) if outcome is not None]


def _run_tasks(
    threads: ThreadPoolTaskRunner[Made | None],
    pool: WorkerPool,
    jobs: Sequence[ShardJob],
    wait: bool,
) -> list[ShardOutcome | None]:
    parameters = {"job": jobs, "pool": unmapped(pool), "wait": unmapped(wait)}
    futures = threads.map(predict_shard, parameters)
    return [_outcome(job, _final_state(future)) for job, future in zip(jobs, futures, strict=True)]


def _final_state(future: PrefectFuture[Any]) -> State[Made | None]:
    future.wait()
    return future.state


def _outcome(job: ShardJob, state: State[Made | None]) -> ShardOutcome | None:
    answer = state.result(raise_on_failure=False)
    if answer is None:
        return None
    if isinstance(answer, Made):
        return ShardOutcome(job, answer.manifest, answer.is_reused)
    return ShardOutcome(job, None, error=describe_error(answer))
