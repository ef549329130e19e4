"""The predict stage as Prefect tasks: generate the shards that the store does not have."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from prefect import task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.plan.plan import Plan
from tasks.plan.stage_result import CACHED, TimeSpan
from tasks.predict.cluster.pool import ClusterPool
from tasks.predict.device_slots import slots
from tasks.predict.early.work import EarlyWork
from tasks.predict.jobs import Prediction, Selection, ShardJob, ShardOutcome, look_up_all
from tasks.predict.known_rows import KnownRows, find_known_rows
from tasks.predict.progress import Progress
from tasks.predict.shards import ShardDetails
from tasks.predict.waves import Wave, plan_waves
from tasks.predict.workers.base import ShardPool
from tasks.predict.workers.local import make_local_workers
from tasks.predict.workers.pool import WorkerPool
from tasks.retry import task_retries
from tasks.runs.run import Run
from tasks.store.manifest import Found

logger = logging.getLogger("wenti.predict")

MOST_TASK_RUNS = 200
"""For the shards of a run; see `tasks.predict.waves`."""

FEW_TASK_RUNS, ROWS_PER_TASK_RUN = 20, 1024
"""More than a few task runs have at least so many rows each: one costs some 50 ms of CPU, most of
it in Prefect's server, and a shard of 64 rows itself 8 ms."""


@task(name="predict shard", task_run_name="{wave}", cache_policy=NO_CACHE, **task_retries())
def predict_wave(wave: Wave, pool: ShardPool, wait: bool) -> object:
    """Make the shards of a wave that the store does not have; Prefect retries transient errors.

    While another run is making one, wait for that run or, without `wait`, leave it for now.
    See `tasks.predict.workers.base.ShardPool.generate` for what it raises.
    """
    wave.make(lambda job: pool.generate(job, wait))
    return Completed(name=CACHED if wave.is_reused else None)


@task(name="predict shard", task_run_name="{wave}", cache_policy=NO_CACHE)
def reuse_wave(wave: Wave) -> object:
    """Show that the store already had the shards of a wave, as Prefect shows a cached result."""
    return Completed(name=CACHED, message=f"{wave}: reused")


def predict_missing(
    plan: Plan,
    run: Run,
    jobs: Sequence[ShardJob],
    selection: Selection,
    progress: Progress,
    early: EarlyWork,
) -> Prediction:
    """Generate the selected shards that the store does not have.

    Those that fail, and missing ones that are not selected, are outcomes, not errors.

    There is a thread for each worker, and each shard goes to an idle worker. Each shard is a task
    run of Prefect; where that would be more than `limit_task_runs`, waves of shards are, and the
    reused ones together are one. `progress` counts the rows that are not reused. The workers of
    `early` are taken over, and the stage has begun when they did.

    Raises:
        InputError: the selection names a shard that does not exist.
        ClusterError: the cluster cannot be used.
    """
    started = time.monotonic()
    selection.check(jobs)
    outcomes = {one.job.shard.index: one for one in _look_up(jobs, selection)}
    run.journal.reused(
        {
            index: ShardDetails.of(one.manifest).row_counts
            for index, one in outcomes.items()
            if one.manifest is not None
        }
    )
    if chosen := selection.find_reused(outcomes.values()):
        logger.warning(
            "already made, and reused: shard %s; --force (`force` in Prefect's UI) remakes it",
            ", ".join(map(str, chosen)),
        )
    missing = [one.job for one in outcomes.values() if one.manifest is None and not one.is_left_out]
    there = [one.job for one in outcomes.values() if one.is_reused]
    most = limit_task_runs(sum(job.shard.rows for job in (*there, *missing)))
    reused = plan_waves(there, len(there) if len(there) + len(missing) <= most else 1)
    devices: dict[str, dict[str, Any]] = {}
    with _shown(reused):
        if missing:
            progress.start(sum(job.shard.rows for job in missing))
            with _opened(plan, run, missing, selection, progress, early) as pool:
                made = _generate(pool, missing, most - len(reused))
            outcomes |= {one.job.shard.index: one for one in made}
            devices = pool.figures()
    span = TimeSpan.since(early.began or started)
    return Prediction(list(outcomes.values()), span, devices)


def limit_task_runs(rows: int) -> int:
    """Return how many task runs of Prefect the shards of a run with so many rows may have."""
    return min(MOST_TASK_RUNS, max(FEW_TASK_RUNS, rows // ROWS_PER_TASK_RUN))


@contextmanager
def _shown(reused: Sequence[Wave]) -> Iterator[None]:
    """Show reused shards as task runs, in a thread of their own while the block makes others."""
    if not reused:
        yield
        return
    thread: ThreadPoolTaskRunner[object] = ThreadPoolTaskRunner(max_workers=1)
    with thread:
        futures = thread.map(reuse_wave, {"wave": reused})
        yield
        for future in futures:
            future.wait()


@contextmanager
def _opened(
    plan: Plan,
    run: Run,
    jobs: Sequence[ShardJob],
    selection: Selection,
    progress: Progress,
    early: EarlyWork,
) -> Iterator[ShardPool]:
    """Yield what makes the shards: the workers of this machine, or places on a cluster."""
    predict, is_forced = plan.settings.predict, selection.is_forced
    if predict.executor == "ray":
        known = _find_known_rows(plan, jobs[0], selection)
        stage = jobs[0].stage
        yield ClusterPool(plan, stage, len(jobs), run, progress, is_forced, known)
        return
    with early.handed_over(jobs[0].stage.dataset) as begun:
        if begun is not None:
            yield begun
            return
    workers, deadline = make_local_workers(plan), predict.batch_deadline_seconds
    with slots([worker.device for worker in workers]):
        known = _find_known_rows(plan, jobs[0], selection)
        yield WorkerPool(workers, run, progress, is_forced, known, deadline)


def _find_known_rows(plan: Plan, job: ShardJob, selection: Selection) -> KnownRows | None:
    if selection.is_forced or not plan.settings.shards.reuse_rows:
        return None
    return find_known_rows(plan, job.stage.dataset)


def _look_up(jobs: Sequence[ShardJob], selection: Selection) -> Iterator[ShardOutcome]:
    """Yield the outcomes of what the store has, and of what is left to others, in order."""
    looked_up = [job for job in jobs if not (selection.is_forced and selection.has(job))]
    found = dict(zip((job.shard.index for job in looked_up), look_up_all(looked_up), strict=True))
    for job in jobs:
        manifest = found.get(job.shard.index, Found(None)).manifest
        is_left_out = manifest is None and not selection.has(job)
        yield ShardOutcome(job, manifest, manifest is not None, is_left_out=is_left_out)


def _generate(pool: ShardPool, jobs: Sequence[ShardJob], most: int) -> list[ShardOutcome]:
    """Make what nobody else is making, then wait for the rest or take it over.

    It takes `most` task runs at most, or one for each worker if that is more.
    """
    threads: ThreadPoolTaskRunner[object] = ThreadPoolTaskRunner(max_workers=pool.size)
    with threads, closing(pool):  # the pool closes first, so that no thread waits for a worker
        waves = plan_waves(jobs, max(most, pool.size))
        outcomes = _run_tasks(threads, pool, waves, wait=False)
        others = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome is None]
        waiting = plan_waves(others, max(pool.size, most - len(waves)))
        waited = _run_tasks(threads, pool, waiting, wait=True)
    return [outcome for outcome in (*outcomes, *waited) if outcome is not None]


def _run_tasks(
    threads: ThreadPoolTaskRunner[object], pool: ShardPool, waves: Sequence[Wave], wait: bool
) -> list[ShardOutcome | None]:
    if not waves:
        return []
    parameters = {"wave": waves, "pool": unmapped(pool), "wait": unmapped(wait)}
    futures = threads.map(predict_wave, parameters)
    ended = zip(waves, map(_find_end, futures), strict=True)
    return [outcome for wave, end in ended for outcome in wave.outcomes(end)]


def _find_end(future: PrefectFuture[Any]) -> BaseException | None:
    """Wait for a task run; return the error that has ended it."""
    future.wait()
    end: BaseException | None = future.state.result(raise_on_failure=False)
    return end
