"""Predict: generate the shards that the store does not have, on one worker for each device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from prefect import task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task, exponential_backoff

from tasks.errors import StorageError, StoreCorruptionError, WorkerError
from tasks.jobs import Prediction, ShardJob, ShardOutcome, look_up
from tasks.plan import Plan
from tasks.pool import WorkerPool
from tasks.progress import listener
from tasks.store import Manifest


def can_retry(task: Task[..., Manifest], run: TaskRun, state: State[Manifest]) -> bool:
    """Tell what another attempt can cure: a dead worker or an I/O error, but no full disk."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, WorkerError | StoreCorruptionError | OSError) and not isinstance(
        error, StorageError
    )


@task(
    name="predict shard",
    task_run_name="shard {job.shard.index}",
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=can_retry,
    cache_policy=NO_CACHE,
)
def predict_shard(job: ShardJob, pool: WorkerPool) -> Manifest:
    """Generate one shard; Prefect retries what a retry can cure."""
    return pool.generate(job)


def predict_missing(plan: Plan, jobs: Sequence[ShardJob]) -> Prediction:
    """Generate the shards that the store does not have; those that fail are outcomes, not errors.

    One Prefect thread for each device feeds that device's worker.
    """
    started = time.monotonic()
    outcomes = {job.shard.index: ShardOutcome(job, look_up(job).manifest, True) for job in jobs}
    missing = [outcome.job for outcome in outcomes.values() if outcome.manifest is None]
    if missing:
        outcomes |= {made.job.shard.index: made for made in _generate(plan, missing)}
    return Prediction(list(outcomes.values()), time.monotonic() - started)


def _generate(plan: Plan, jobs: Sequence[ShardJob]) -> list[ShardOutcome]:
    progress = listener(plan.settings.predict.logging_steps)
    progress.start(sum(job.shard.rows for job in jobs))
    devices = len(plan.settings.predict.device_names)
    threads: ThreadPoolTaskRunner[Manifest] = ThreadPoolTaskRunner(max_workers=devices)
    # The pool ends first: after an interruption no thread waits for a worker any more.
    with threads, WorkerPool(plan, progress) as pool:
        futures = threads.map(predict_shard, {"job": jobs, "pool": unmapped(pool)})
        states = [_final_state(future) for future in futures]
    return [_outcome(job, state) for job, state in zip(jobs, states, strict=True)]


def _final_state(future: PrefectFuture[Any]) -> State[Manifest]:
    future.wait()
    return future.state


def _outcome(job: ShardJob, state: State[Manifest]) -> ShardOutcome:
    answer = state.result(raise_on_failure=False)
    if isinstance(answer, Manifest):
        return ShardOutcome(job, answer)
    return ShardOutcome(job, None, error=str(answer))
