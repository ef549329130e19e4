"""Shards made without a task run of Prefect for each: the same retries and the same end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import DiskError, InputError, StoppedError
from tasks.predict import retry, task
from tasks.predict.jobs import ShardJob
from tasks.predict.shards import plan_shards
from tasks.store.claims import Made
from tasks.store.manifest import Found, Manifest
from tests.support.batch_runners import Dataset, write_dataset

MADE = Made(Manifest(kind="shard", fingerprint="f", decided_by={}, files=()), Found(None))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(task, "MOST_TASK_RUNS", 0)
    monkeypatch.setattr(retry, "DELAYS_SECONDS", (0.0, 0.0))
    return


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


def test_shards_are_retried_given_up_and_waited_for_as_with_prefect(tmp_path: Path) -> None:
    def plan(shard: int, attempt: int, wait: bool) -> Made | None:
        if shard == 1 and attempt < 3:
            raise DiskError("it may pass")
        if shard == 2:
            raise DiskError("it stays")
        if shard == 3:
            raise InputError("somebody must correct it")
        return None if shard == 4 and not wait else MADE

    jobs = make_jobs(tmp_path, 5)
    pool = Pool(plan)
    outcomes = {one.job.shard.index: one for one in task._generate(pool, jobs)}
    assert {index: one.state for index, one in sorted(outcomes.items())} == {
        0: "made", 1: "made", 2: "failed", 3: "failed", 4: "made"
    }  # fmt: skip
    assert "it stays" in str(outcomes[2].error)
    assert "somebody must correct it" in str(outcomes[3].error)
    assert pool.attempts == {0: 1, 1: 3, 2: 3, 3: 1, 4: 2}
    assert pool.closed.is_set()


def test_a_signal_ends_all_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(tmp_path, 50)

    def plan(shard: int, _attempt: int, _wait: bool) -> Made | None:
        while not pool.closed.is_set():
            time.sleep(0.01)
        raise StoppedError("the run was stopped")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    pool = Pool(plan)
    monkeypatch.setattr(task, "_name_outcome", interrupt)
    monkeypatch.setattr("concurrent.futures.Future.result", interrupt)
    with pytest.raises(KeyboardInterrupt):
        task._generate(pool, jobs)
    assert pool.closed.is_set()
    assert sum(pool.attempts.values()) <= pool.size
