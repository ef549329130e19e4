"""What a place makes of a shard and tells of it, and what a run hears of two at one shard."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.config.settings import DatasetSettings, DecodeSettings, PredictSettings
from tasks.engine.fake import export_fake
from tasks.engine.model_files import ModelFiles
from tasks.engine.paddle.installation import find_releases
from tasks.errors import InstallationError, StoreCorruptionError, WorkerError
from tasks.plan.plan import PlannedCheckpoint
from tasks.predict.cluster.place import (
    BatchFailed,
    MadeShard,
    PlaceOrder,
    RowsDone,
    ShardWork,
)
from tasks.predict.cluster.pool import Ear
from tasks.predict.jobs import ShardJob, look_up
from tasks.predict.progress import Pace, Progress
from tasks.predict.shards import Shard
from tasks.runs.journal import JOURNAL_FILE, read_journal
from tasks.runs.run import Run
from tasks.store.files import adopt_file, staging_folder
from tasks.store.manifest import Manifest, commit_manifest
from tests.support.batch_runners import LENGTHS, Dataset, write_dataset
from tests.support.planned_jobs import plan_job, write_job
from tests.support.rehearsal import ROOT

MODEL = ROOT / "data/checkpoint"


@pytest.fixture
def job(tmp_path: Path) -> ShardJob:
    dataset = Dataset(tmp_path / "dataset", write_dataset(tmp_path / "dataset"))
    return dataset.job(tmp_path / "shards", Shard(1, 2, 2, len(LENGTHS)))


@pytest.fixture
def order(tmp_path: Path, job: ShardJob) -> PlaceOrder:
    export = PlannedCheckpoint.of({"stage": "export"}, lambda _: tmp_path / "export")
    with staging_folder(export.folder) as staging:
        export_fake(MODEL, DecodeSettings(), staging)
        files = [adopt_file(path, export.folder / path.name) for path in staging.iterdir()]
    commit_manifest(
        export.manifest_path,
        Manifest(
            kind="export",
            fingerprint=export.fingerprint,
            decided_by=export.decided_by,
            files=tuple(files),
        ),
    )
    copied = shutil.copytree(MODEL, tmp_path / "model")
    tokenizer = ModelFiles.of_tokenizer(copied).carried()
    shutil.rmtree(copied)  # a node need not have it
    return PlaceOrder(
        export,
        tokenizer,
        DatasetSettings(),
        PredictSettings(device="cpu"),
        job.stage,
        releases=find_releases(),
        is_forced=False,
    )


def test_a_node_with_another_paddle_is_no_place(order: PlaceOrder) -> None:
    planned = {**order.releases, "Paddle": "3.3.1"}
    with pytest.raises(InstallationError, match="on this node, and the run is planned"):
        replace(order, releases=planned).start()


def test_a_place_makes_a_shard_tells_its_rows_and_finds_it_the_next_time(
    job: ShardJob, order: PlaceOrder
) -> None:
    sent: PlaceOrder = pickle.loads(pickle.dumps(order))  # noqa: S301 our own
    maker, told = sent.start(), list[object]()
    made = maker.work(ShardWork(job.shard, None), told.append)
    assert isinstance(made, MadeShard)
    assert made.manifest == look_up(job).manifest
    assert made.usage["peak_memory_mb"] > 0
    assert sum(event.rows for event in told if isinstance(event, RowsDone)) == job.shard.rows
    told.clear()
    again = maker.work(ShardWork(job.shard, None), told.append)
    assert (again.manifest, told) == (made.manifest, [])
    maker.close()


def test_rows_of_an_attempt_that_failed_are_taken_back(job: ShardJob, order: PlaceOrder) -> None:
    (Path(job.stage.dataset_folder) / "part-00000-of-00001.parquet").unlink()
    maker, told = order.start(), list[object]()
    with pytest.raises((StoreCorruptionError, OSError)):
        maker.work(ShardWork(job.shard, None), told.append)
    assert sum(event.rows for event in told if isinstance(event, RowsDone)) == 0
    maker.close()


def test_no_place_starts_on_a_node_that_does_not_see_the_export_of_the_run(
    order: PlaceOrder,
) -> None:
    (Path(order.export.folder) / "contract.json").write_text("{}")
    with pytest.raises(StoreCorruptionError, match=r"contract\.json differs"):
        order.start()
    shutil.rmtree(order.export.folder)
    with pytest.raises(StoreCorruptionError, match=r"this node does not see .*export is not there"):
        order.start()


def test_two_places_at_one_shard_are_counted_as_one_and_late_news_not_at_all(
    tmp_path: Path, job: ShardJob
) -> None:
    paces: list[Pace] = []
    progress = Progress(paces.append)
    run = Run.start(plan_job(write_job(tmp_path), f"store.path={tmp_path / 'store'}"))
    ear = Ear(job, run, progress)
    for attempt, rows, shown in ((0, 4, 4), (1, 3, 4), (1, 3, 6), (0, 1, 6), (1, -6, 5)):
        ear.hear(attempt, "a cpu", RowsDone(rows))
        assert paces[-1].done == shown
    ear.hear(0, "a cpu", BatchFailed(WorkerError("it crashed")))
    ear.end(job.shard.rows)
    assert paces[-1].done == job.shard.rows
    ear.hear(1, "b cpu", RowsDone(6))
    ear.hear(1, "b cpu", BatchFailed(WorkerError("too late")))
    assert paces[-1].done == job.shard.rows
    history = read_journal(run.folder / JOURNAL_FILE)[job.shard.index]
    assert (history.device, history.attempts) == ("a cpu", 1)
