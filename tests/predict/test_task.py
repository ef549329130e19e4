"""Shards as task runs of Prefect: which there are, how they end, and what is tried again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import DiskError, InputError, StoppedError
from tasks.predict import task
from tasks.predict.jobs import ShardJob, ShardOutcome
from tasks.predict.shards import plan_shards
from tasks.store.claims import Made
from tasks.store.manifest import Found, Manifest
from tests.support.batch_runners import Dataset, write_dataset
from tests.support.commands import RunFlow
from tests.support.task_runs import flow_run_of, seen_in_prefect

MADE = Made(Manifest(kind="shard", fingerprint="f", decided_by={}, files=()), Found(None))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    without_delays = task.predict_wave.with_options(retry_delay_seconds=[0.0, 0.0])
    monkeypatch.setattr(task, "predict_wave", without_delays)


def make_jobs(folder: Path, count: int) -> list[ShardJob]:
    dataset = Dataset(folder, write_dataset(folder))
    return [dataset.job(folder, shard) for shard in plan_shards(count, 1)]


class Pool:
    """Answers for each shard in turn what `plan` says, by the number of the attempt."""

    size = 2

    def __init__(self, plan: Callable[[int, int, bool], Made | None]) -> None:
        self.plan, self.attempts = plan, Counter[int]()
        self.closed = threading.Event()

    def generate(self, job: ShardJob, wait: bool) -> Made | None:
        if self.closed.is_set():
            raise StoppedError("the run was stopped")
        self.attempts[job.shard.index] += 1
        return self.plan(job.shard.index, self.attempts[job.shard.index], wait)

    def close(self) -> None:
        self.closed.set()

    def figures(self) -> dict[str, dict[str, Any]]:
        return {}


def in_a_flow(pool: Pool, jobs: list[ShardJob], most: int) -> tuple[list[ShardOutcome], str]:
    """Return the outcomes of shards, and the id of the flow run that made them."""
    from prefect import flow
    from prefect.runtime import flow_run

    @flow
    def predict() -> tuple[list[ShardOutcome], str]:
        return task._generate(pool, jobs, most), str(flow_run.id)

    return predict()


@pytest.mark.parametrize("most", [200, 3], ids=["a task run for each", "waves"])
def test_shards_are_retried_given_up_and_waited_for(
    prefect_server: None, tmp_path: Path, most: int
) -> None:
    def plan(shard: int, attempt: int, wait: bool) -> Made | None:
        if shard == 1 and attempt < 3:
            raise DiskError("it may pass")
        if shard == 2:
            raise DiskError("it stays")
        if shard == 3:
            raise InputError("somebody must correct it")
        return None if shard == 4 and not wait else MADE

    pool = Pool(plan)
    found, flow_run_id = in_a_flow(pool, make_jobs(tmp_path, 5), most)
    outcomes = {one.job.shard.index: one for one in found}
    assert {index: one.state for index, one in sorted(outcomes.items())} == {
        0: "made", 1: "made", 2: "failed", 3: "failed", 4: "made"
    }  # fmt: skip
    assert "it stays" in str(outcomes[2].error)
    assert "somebody must correct it" in str(outcomes[3].error)
    assert pool.attempts == {0: 1, 1: 3, 2: 3, 3: 1, 4: 2}
    assert pool.closed.is_set()
    expected = {
        200: {
            "shard 0 of 5": "Completed",
            "shard 1 of 5": "Completed",
            "shard 2 of 5": "Failed",
            "shard 3 of 5": "Failed",
            "shard 4 of 5": "Completed",
        },
        3: {
            "shard 0 of 5": "Completed",
            "shards 1-2 of 5": "Failed",
            "shards 3-4 of 5": "Failed",
            "shard 4 of 5": "Completed",  # that another run had, at first
        },
    }[most]
    assert seen_in_prefect(flow_run_id, len(expected)) == expected


@pytest.mark.parametrize(
    ("rows", "most"), [(300, 20), (20_000, 20), (30_720, 30), (204_800, 200), (10**9, 200)]
)
def test_small_shards_have_fewer_task_runs(rows: int, most: int) -> None:
    assert task.limit_task_runs(rows) == most


def test_a_signal_ends_all_shards(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(shard: int, _attempt: int, _wait: bool) -> Made | None:
        while not pool.closed.is_set():
            time.sleep(0.01)
        raise StoppedError("the run was stopped")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    pool = Pool(plan)
    monkeypatch.setattr(task, "_find_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        task._generate(pool, make_jobs(tmp_path, 50), most=50)
    assert pool.closed.is_set()
    assert sum(pool.attempts.values()) <= pool.size


def test_reused_work_is_seen_as_cached_and_many_shards_as_one(
    run_demo: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(task_runs: int = 5) -> dict[str, str]:
        result = run_demo(
            tmp_path, "export.engine=fake", "shards.rows_per_shard=4", "dataset.limit=8"
        )
        return seen_in_prefect(flow_run_of(result), task_runs)

    stages = {"export the model": "Cached", "load the passages": "Cached"}
    others = {"aggregate the shards": "Completed"}
    made = {"shard 0 of 2": "Completed", "shard 1 of 2": "Completed"}
    assert run() == {**dict.fromkeys(stages, "Completed"), **made, **others}
    assert run() == {**stages, **dict.fromkeys(made, "Cached"), **others}
    monkeypatch.setattr(task, "MOST_TASK_RUNS", 1)
    assert run(task_runs=4) == {**stages, "shards 0-1 of 2": "Cached", **others}
