"""A worker process with the fake engine: its answers, and what happens when it dies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tasks.config.settings import DatasetSettings, DecodeSettings, PredictSettings
from tasks.engine.fake import FAULTS_VARIABLE, export_fake, row_digest
from tasks.engine.model_files import ModelFiles
from tasks.errors import BadOutputError, BatchTimeoutError, StoppedError, WorkerError
from tasks.predict.jobs import ShardJob
from tasks.predict.shards import Shard
from tasks.predict.workers.base import WorkerOrder
from tasks.predict.workers.local import LocalWorker
from tests.support.batch_runners import LENGTHS, Dataset, write_dataset
from tests.support.rehearsal import ROOT

MODEL = ROOT / "data/checkpoint"
GUILTY = 3  # the only row with this length


@pytest.fixture
def job(tmp_path: Path) -> ShardJob:
    dataset = Dataset(tmp_path / "dataset", write_dataset(tmp_path / "dataset"))
    return dataset.job(tmp_path / "shards", Shard(1, 2, 2, len(LENGTHS)))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[LocalWorker]:
    (tmp_path / "export").mkdir()
    export_fake(MODEL, DecodeSettings(num_return_sequences=2), tmp_path / "export")
    tokenizer = ModelFiles.of_tokenizer(MODEL)
    order = WorkerOrder("cpu", tmp_path / "export", tokenizer, DatasetSettings(), PredictSettings())
    worker = LocalWorker(order)
    yield worker
    worker.close()


def fail_with(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the fake engine fail on row `GUILTY`."""
    faults = {"rows": [{"row": row_digest([1] * LENGTHS[GUILTY]), "kind": kind}]}
    (tmp_path / "faults.json").write_text(json.dumps(faults))
    monkeypatch.setenv(FAULTS_VARIABLE, str(tmp_path / "faults.json"))


def children() -> list[psutil.Process]:
    """Return the worker processes of this process, which are its spawned children."""
    own = psutil.Process(os.getpid()).children(recursive=True)
    return [child for child in own if "spawn_main" in " ".join(child.cmdline())]


def test_a_worker_answers_with_lengths_and_with_questions_in_the_order_asked(
    job: ShardJob, worker: LocalWorker
) -> None:
    assert children() == []
    worker.open(job)
    answers = worker.run([5, 0, 2], seconds=60)
    longest = DecodeSettings().max_dec_len - 1  # and the eos token
    for length, questions in zip((31, 7, 12), answers, strict=True):
        copied = [min(length - 1 - place, longest) for place in range(2)]
        assert [len(question.output_ids) - 1 for question in questions] == copied
    worker.check()
    worker.measure()
    assert worker.usage()["peak_memory_mb"] > 0


@pytest.mark.parametrize(
    ("kind", "error", "seconds"),
    [
        ("crash", WorkerError, 60),
        ("hang", BatchTimeoutError, 1),
        ("wrong_shape", BadOutputError, 60),
    ],
)
def test_a_batch_that_fails_does_so_with_its_own_error_and_a_restart_cures_it(
    job: ShardJob,
    worker: LocalWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    error: type[WorkerError],
    seconds: float,
) -> None:
    fail_with(kind, tmp_path, monkeypatch)
    worker.open(job)
    with pytest.raises(error) as caught:
        worker.run([0, GUILTY - job.shard.start], seconds)
    assert type(caught.value) is error
    worker.restart()
    assert children() == []
    worker.open(job)
    worker.check()
    assert len(worker.run([0], seconds=60)) == 1


def test_a_closed_worker_answers_nothing_and_starts_nothing(
    job: ShardJob, worker: LocalWorker
) -> None:
    worker.open(job)
    worker.close()
    for ask in (lambda: worker.open(job), lambda: worker.run([0], 60), worker.check):
        with pytest.raises(StoppedError):
            ask()
    assert children() == []
