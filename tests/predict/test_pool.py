"""The pool, with workers in this process: it uses only their interface."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tasks.errors import StoppedError, WorkerError
from tasks.predict.jobs import ShardJob, look_up
from tasks.predict.shards import Shard, plan_shards
from tasks.predict.workers.pool import WorkerPool
from tasks.runs.journal import JOURNAL_FILE, read_journal
from tasks.runs.run import Run
from tasks.store.claims import Claims
from tasks.store.manifest import Found, Manifest
from tests.support.batch_runners import LENGTHS, Dataset, FaultyRunner, write_dataset
from tests.support.planned_jobs import plan_job, write_job

PATIENCE = 600


class Rows:
    """Records how many rows are done."""

    def __init__(self) -> None:
        self.done = 0

    def start(self, rows: int) -> None:
        pass

    def advance(self, rows: int) -> None:
        self.done += rows


class OtherRun:
    """Another run on the same store that keeps making a shard until it is stopped."""

    def __init__(self, claims_folder: Path, job: ShardJob) -> None:
        self._claims, self._job = Claims(claims_folder), job
        self._begun, self._may_end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._try)

    def start(self) -> None:
        self._thread.start()
        assert self._begun.wait(PATIENCE)

    def end(self) -> None:
        self._may_end.set()
        self._thread.join()

    def _try(self) -> None:
        with self._claims.beating(), pytest.raises(WorkerError):
            self._claims.once(self._job.claim, lambda: Found(None), self._make)

    def _make(self) -> Manifest:
        self._begun.set()
        assert self._may_end.wait(PATIENCE)
        raise WorkerError("it gave up")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    folder = write_job(tmp_path)
    run = Run.start(plan_job(folder, f"store.path={folder / 'store'}"))
    with run.claims.beating():
        yield run


@pytest.fixture
def jobs(tmp_path: Path) -> list[ShardJob]:
    dataset = Dataset(tmp_path / "dataset", write_dataset(tmp_path / "dataset"))
    return [dataset.job(tmp_path / "shards", shard) for shard in plan_shards(len(LENGTHS), 4)]


@pytest.fixture
def other_run(tmp_path: Path, jobs: list[ShardJob]) -> Iterator[OtherRun]:
    other = OtherRun(tmp_path / "store/claims", jobs[0])
    other.start()
    yield other
    other.end()


def whole_dataset(jobs: list[ShardJob]) -> ShardJob:
    dataset = Dataset(jobs[0].stage.dataset_folder, jobs[0].stage.dataset)
    return dataset.job(jobs[0].stage.folder, Shard(0, 1, 0, len(LENGTHS)))


def test_every_shard_is_made_once_by_some_worker(run: Run, jobs: list[ShardJob]) -> None:
    runners, rows = [FaultyRunner(device="cpu"), FaultyRunner(device="cpu")], Rows()
    pool = WorkerPool(runners, run, rows)
    with closing(pool), ThreadPoolExecutor(pool.size) as threads:
        made = list(threads.map(lambda job: pool.generate(job, wait=False), jobs))
    assert [one is not None and one.is_reused for one in made] == [False] * 4
    assert all(look_up(job).manifest for job in jobs)
    figures = pool.figures()
    assert list(figures) == ["cpu", "cpu (2)"]
    assert sum(one["shards"] for one in figures.values()) == 4
    assert sum(one["rows"] for one in figures.values()) == rows.done == len(LENGTHS)
    assert sum(one["batches"] for one in figures.values()) == sum(
        len(runner.batches) for runner in runners
    )
    assert all(runner.is_closed for runner in runners)


def test_a_shard_that_the_store_has_is_made_again_only_if_that_is_forced(
    run: Run, jobs: list[ShardJob]
) -> None:
    for is_forced, is_reused in ((False, False), (False, True), (True, False)):
        with closing(WorkerPool([FaultyRunner()], run, Rows(), is_forced)) as pool:
            made = pool.generate(jobs[0], wait=True)
        assert made is not None
        assert made.is_reused == is_reused


def test_a_worker_that_answers_no_row_is_restarted_and_the_failure_is_noted(
    run: Run, jobs: list[ShardJob]
) -> None:
    runner = FaultyRunner(is_broken=True)
    with (
        closing(WorkerPool([runner], run, Rows())) as pool,
        pytest.raises(WorkerError, match="broken"),
    ):
        pool.generate(jobs[0], wait=False)
    assert runner.job is None
    assert read_journal(run.folder / JOURNAL_FILE)[0].state == "failed"


def test_what_another_run_is_making_is_left_to_it_unless_we_wait(
    run: Run, jobs: list[ShardJob], other_run: OtherRun
) -> None:
    with closing(WorkerPool([FaultyRunner()], run, Rows())) as pool:
        assert pool.generate(jobs[0], wait=False) is None
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(pool.generate, jobs[0], wait=True)
            other_run.end()
            made = waiting.result(PATIENCE)
    assert made is not None
    assert not made.is_reused


def test_a_closed_pool_ends_its_own_waiting_and_no_other(
    run: Run, jobs: list[ShardJob], other_run: OtherRun
) -> None:
    pool = WorkerPool([FaultyRunner()], run, Rows())
    nothing, manifest = Found(None), Manifest(kind="k", fingerprint="f", decided_by={}, files=())
    with ThreadPoolExecutor() as threads:
        of_the_pool = threads.submit(pool.generate, jobs[0], wait=True)
        of_another_stage: Future[object] = threads.submit(
            run.claims.once, jobs[0].claim, lambda: nothing, lambda: manifest
        )
        pool.close()
        with pytest.raises(StoppedError):
            of_the_pool.result(PATIENCE)
        assert not of_another_stage.done()
        other_run.end()
        assert of_another_stage.result(PATIENCE)
    with pytest.raises(StoppedError):
        pool.generate(jobs[1], wait=False)


def test_the_size_that_does_not_fit_is_remembered_for_the_next_shard(
    run: Run, jobs: list[ShardJob]
) -> None:
    runner = FaultyRunner(memory=320)
    with closing(WorkerPool([runner], run, Rows(), is_forced=True)) as pool:
        tries = []
        for _ in range(2):
            runner.batches.clear()
            made = pool.generate(whole_dataset(jobs), wait=False)
            assert made is not None
            tries.append(len(runner.batches) - made.manifest.details["batches"])
    assert tries[0] > 0
    assert tries[1] == 0
