"""What is done of a shard outlives the end of its run, and leaves no trace in the shard's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import StoppedError
from tasks.predict.jobs import ShardJob
from tasks.predict.questions import Question
from tasks.predict.shards import Shard
from tasks.predict.workers.batch_limits import DeviceLimits
from tasks.predict.workers.pieces import Pieces
from tasks.predict.workers.shard_runner import ShardRun
from tests.support.batch_runners import LENGTHS, Dataset, FaultyRunner, write_dataset

ROWS = len(LENGTHS)


@dataclass
class EndingRunner(FaultyRunner):
    """A worker that is stopped, with its run, after `left` batches."""

    left: int = 0

    def run(self, positions: Sequence[int], seconds: float) -> list[list[Question]]:
        if self.left == 0:
            raise StoppedError("the run was stopped")
        self.left -= 1
        return super().run(positions, seconds)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("dataset")
    return Dataset(folder, write_dataset(folder))


def with_stage(job: ShardJob, **changes: float) -> ShardJob:
    return replace(job, stage=replace(job.stage, **changes))


def plan(dataset: Dataset, folder: Path, commit_seconds: float = 0) -> ShardJob:
    job = dataset.job(folder, Shard(0, 1, 0, ROWS), batch_size=3)
    return with_stage(job, commit_seconds=commit_seconds)


def make(job: ShardJob, runner: FaultyRunner) -> list[int]:
    """Make the shard, or what the runner allows of it; return how many rows were told as done."""
    told: list[int] = []
    ShardRun(job, runner, DeviceLimits(), told.append, lambda _error: None).finish()
    return told


def end_after(job: ShardJob, batches: int) -> None:
    with pytest.raises(StoppedError):
        make(job, EndingRunner(left=batches))


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(ends=st.lists(st.integers(0, 3), max_size=4))
def test_a_shard_goes_on_after_its_last_batch_however_often_it_is_ended(
    dataset: Dataset, tmp_path_factory: pytest.TempPathFactory, ends: list[int]
) -> None:
    folders = [tmp_path_factory.mktemp(name) for name in ("undisturbed", "ended")]
    make(plan(dataset, folders[0]), whole := FaultyRunner())
    job, last = plan(dataset, folders[1]), FaultyRunner()
    for batches in ends:
        if sum(ends) < len(whole.batches):
            end_after(job, batches)
    told = make(job, last)
    assert sum(told) == ROWS
    done = sum(ends) if sum(ends) < len(whole.batches) else 0
    assert last.batches == whole.batches[done:]
    assert files_in(folders[0]) == files_in(folders[1])


def test_a_damaged_piece_and_those_after_it_are_generated_again(
    dataset: Dataset, tmp_path: Path
) -> None:
    job, last = plan(dataset, tmp_path / "a"), FaultyRunner()
    end_after(job, 4)
    names = sorted(path.name for path in (tmp_path / "a").glob("piece-*.json"))
    assert [name[-9:] for name in names] == ["0000.json", "0001.json", "0002.json", "0003.json"]
    (tmp_path / "a" / names[2]).write_bytes(b"damaged")
    make(job, last)
    make(plan(dataset, tmp_path / "b"), whole := FaultyRunner())
    assert last.batches == whole.batches[2:]
    shard = job.shard.file_name
    assert files_in(tmp_path / "a")[shard] == files_in(tmp_path / "b")[shard]


def test_a_piece_of_another_shard_is_not_taken_for_one_of_this(
    dataset: Dataset, tmp_path: Path
) -> None:
    jobs = [
        with_stage(dataset.job(tmp_path, shard, batch_size=2), commit_seconds=0)
        for shard in (Shard(0, 2, 0, 8), Shard(1, 2, 8, ROWS))
    ]
    for job in jobs:
        end_after(job, 1)
    paths = [tmp_path / f"{job.shard.piece_name}-0000.json" for job in jobs]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    make(jobs[0], last := FaultyRunner())
    assert sum(map(len, last.batches)) == 8


def test_no_piece_is_written_before_its_time(dataset: Dataset, tmp_path: Path) -> None:
    end_after(plan(dataset, tmp_path, commit_seconds=3600), 4)
    assert files_in(tmp_path) == {}


def test_pieces_of_other_batches_are_taken_over_as_far_as_they_fit(
    dataset: Dataset, tmp_path: Path
) -> None:
    job = plan(dataset, tmp_path)
    end_after(with_stage(job, batch_size=2), 2)  # as if memory had not sufficed for three rows
    make(job, last := FaultyRunner())
    assert len(list(Pieces(job).read())) == 0
    assert sum(map(len, last.batches)) == ROWS - 4
    assert job.shard.file_name not in files_in(tmp_path)  # which belongs to the planned batches


def test_a_failed_attempt_keeps_what_is_done_for_the_next(dataset: Dataset, tmp_path: Path) -> None:
    job = plan(dataset, tmp_path)
    runner = EndingRunner(left=2)
    told: list[int] = []
    with pytest.raises(StoppedError):
        ShardRun(job, runner, DeviceLimits(), told.append, lambda _error: None).finish()
    assert sum(told) == 0
    assert sum(make(job, FaultyRunner())) == ROWS
