from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import WorkerError
from tasks.predict.jobs import ShardJob
from tasks.predict.shards import Shard, ShardDetails, find_shard
from tasks.predict.workers.batch_limits import FIRST_SECONDS, SHORTEST_SECONDS, DeviceLimits
from tasks.predict.workers.shard_runner import ShardRun
from tasks.store.manifest import Manifest, find_checkpoint
from tasks.store.tables import SHARD
from tests.support.batch_runners import FAULTS, LENGTHS, Dataset, FaultyRunner, write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("dataset")
    return Dataset(folder, write_dataset(folder))


@dataclass
class Made:
    manifest: Manifest
    job: ShardJob
    runner: FaultyRunner
    rows_heard: int
    errors_heard: list[WorkerError]

    @property
    def table(self) -> pa.Table:
        return pq.read_table(self.job.stage.folder / self.manifest.files[0].name)

    @property
    def details(self) -> ShardDetails:
        return ShardDetails.of(self.manifest)

    @property
    def reasons(self) -> dict[int, str]:
        return {reject.row: reject.reason for reject in self.details.rejects}


def make(
    dataset: Dataset,
    folder: Path,
    runner: FaultyRunner,
    rows: tuple[int, int] = (0, len(LENGTHS)),
    limits: DeviceLimits | None = None,
    batch_size: int = 8,
) -> Made:
    job = dataset.job(folder, Shard(0, 1, *rows), batch_size)
    heard: list[int] = []
    errors: list[WorkerError] = []
    run = ShardRun(job, runner, limits or DeviceLimits(), heard.append, errors.append)
    return Made(run.finish(), job, runner, sum(heard), errors)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_shard_holds_its_rows_in_input_order_whatever_the_batches(
    dataset: Dataset, tmp_path: Path, batch_size: int
) -> None:
    made = make(dataset, tmp_path, FaultyRunner(), rows=(2, 9), batch_size=batch_size)
    assert made.table.schema == SHARD
    assert made.table["id"].to_pylist() == [f"id-{row}" for row in range(2, 9)]
    assert made.table["question"].to_pylist() == [f"question {row}" for row in range(2, 9)]
    assert made.details.input_tokens == sum(LENGTHS[2:9])
    assert made.details.padded_tokens >= sum(LENGTHS[2:9])
    assert made.rows_heard == 7
    assert find_checkpoint(made.job.manifest_path, "p").manifest == made.manifest


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_costs_an_attempt_and_changes_no_byte(
    dataset: Dataset, tmp_path: Path, fault: str
) -> None:
    make(dataset, tmp_path / "a", FaultyRunner())
    disturbed = make(dataset, tmp_path / "b", FaultyRunner({3: fault}, times=1))
    assert disturbed.runner.restarts == 1
    for name in (disturbed.job.shard.file_name, disturbed.job.shard.manifest_name):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@settings(max_examples=60)
@given(
    faults=st.dictionaries(
        st.integers(0, len(LENGTHS) - 1), st.sampled_from(sorted(FAULTS)), max_size=4
    ),
    batch_size=st.integers(1, 16),
)
def test_exactly_the_guilty_rows_are_rejected_with_their_reason(
    dataset: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
    faults: dict[int, str],
    batch_size: int,
) -> None:
    folder = tmp_path_factory.mktemp("shard")
    made = make(dataset, folder, FaultyRunner(faults), batch_size=batch_size)
    assert made.reasons == {row: FAULTS[fault].reason for row, fault in sorted(faults.items())}
    kept = [row for row in range(len(LENGTHS)) if row not in faults]
    assert made.table["row"].to_pylist() == kept
    assert made.table["question"].to_pylist() == [f"question {row}" for row in kept]
    assert made.details.rows == len(kept)
    assert made.rows_heard == len(LENGTHS)


def test_finished_batches_are_not_generated_again_after_a_crash(
    dataset: Dataset, tmp_path: Path
) -> None:
    made = make(dataset, tmp_path, FaultyRunner({5: "crash"}, times=1))
    ran = [row for batch in made.runner.batches for row in batch]
    twice = {row for row in ran if ran.count(row) > 1}
    crashed = next(batch for batch in made.runner.batches if 5 in batch)
    assert twice == set(crashed)


def test_a_batch_that_does_not_fit_is_halved_and_the_size_is_remembered(
    dataset: Dataset, tmp_path: Path
) -> None:
    limits, runner = DeviceLimits(), FaultyRunner(memory=320)
    made = make(dataset, tmp_path / "a", runner, limits=limits)
    assert made.table.num_rows == len(LENGTHS)
    assert made.reasons == {}
    assert runner.restarts == 0
    failures = len(runner.batches) - made.details.batches
    assert failures >= 1
    again = FaultyRunner(memory=320)
    remembered = make(dataset, tmp_path / "b", again, limits=limits)
    assert len(again.batches) == remembered.details.batches
    assert remembered.table == made.table


def test_a_single_row_that_does_not_fit_is_rejected(dataset: Dataset, tmp_path: Path) -> None:
    made = make(dataset, tmp_path, FaultyRunner(memory=260))
    assert made.reasons == {3: "out_of_memory"}


def test_a_single_row_that_does_not_fit_once_is_not_rejected(
    dataset: Dataset, tmp_path: Path
) -> None:
    runner = FaultyRunner({3: "no room"}, times=1)
    made = make(dataset, tmp_path, runner, batch_size=1)
    assert made.reasons == {}
    assert made.table.num_rows == len(LENGTHS)
    assert len(made.errors_heard) == 1


def test_an_engine_that_never_works_fails_the_shard_and_rejects_nobody(
    dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(WorkerError, match="broken"):
        make(dataset, tmp_path, FaultyRunner(is_broken=True), batch_size=16)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_of_guilty_rows_only_completes_without_a_prediction(
    dataset: Dataset, tmp_path: Path
) -> None:
    runner = FaultyRunner(dict.fromkeys(range(4), "crash"))
    made = make(dataset, tmp_path, runner, rows=(0, 4))
    assert made.table.num_rows == 0
    assert list(made.reasons) == [0, 1, 2, 3]


def test_deadlines_follow_the_measured_speed_of_the_device() -> None:
    limits = DeviceLimits()
    assert limits.deadline(1000) == FIRST_SECONDS
    limits.learn_speed(padded_tokens=1000, seconds=10)
    assert limits.deadline(10) == SHORTEST_SECONDS
    assert limits.deadline(10_000) == pytest.approx(20 * 100)
    limits.forget_speed()
    assert limits.deadline(10) == FIRST_SECONDS
    assert DeviceLimits(fixed_seconds=2.5).deadline(10_000) == 2.5


def test_the_manifest_of_another_shard_is_damage(dataset: Dataset, tmp_path: Path) -> None:
    job = make(dataset, tmp_path, FaultyRunner()).job
    other = Shard(1, 2, 0, len(LENGTHS))
    assert find_shard(tmp_path, job.shard, job.stage.fingerprint).state == "made"
    (tmp_path / other.manifest_name).write_bytes(job.manifest_path.read_bytes())
    assert find_shard(tmp_path, other, job.stage.fingerprint).state == "damaged"
