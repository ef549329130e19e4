"""The chain without Prefect and without child processes: for tests that make many stores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from tasks.config.loading import load_settings
from tasks.engine.fake import export_fake
from tasks.load.dataset import load_passages, make_request
from tasks.plan.plan import Plan, make_plan
from tasks.predict.jobs import ShardJob, look_up, plan_jobs
from tasks.predict.known_rows import KnownRows, find_known_rows
from tasks.predict.questions import Question
from tasks.predict.shards import ShardDetails
from tasks.predict.workers.base import (
    Answer,
    CheckHealth,
    OpenShard,
    OpenStage,
    Request,
    RunBatch,
    WorkerOrder,
)
from tasks.predict.workers.batch_limits import DeviceLimits
from tasks.predict.workers.shard_runner import ShardRun
from tasks.predict.workers.worker_process import BatchWorker
from tasks.store.manifest import Manifest
from tasks.store.tables import SHARD, read_batches
from tests.support.rehearsal import ROOT


@dataclass
class InProcessRunner:
    """A `BatchRunner` with the worker of a child process in this one; counts what it generates."""

    order: WorkerOrder
    device: str = "cpu"
    opened: int = 0
    generated: int = 0
    worker: BatchWorker | None = field(default=None, repr=False)

    def open(self, job: ShardJob) -> None:
        self.opened += 1
        self.worker = self.worker or BatchWorker(self.order)
        self._ask(OpenStage(job.stage))
        self._ask(OpenShard(job.shard))

    def run(self, positions: Sequence[int], seconds: float) -> list[list[Question]]:
        self.generated += len(positions)
        return self._ask(RunBatch(tuple(positions)))

    def check(self) -> None:
        self._ask(CheckHealth())

    def restart(self) -> None:
        self.worker = None

    def close(self) -> None:
        self.worker = None

    def measure(self) -> None:
        pass

    def usage(self) -> dict[str, Any]:
        return {}

    def _ask(self, request: Request[Answer]) -> Answer:
        assert self.worker is not None, "no shard is open"
        return cast(Answer, self.worker.handle(request))


@dataclass(frozen=True)
class Predicted:
    """The shards of a dataset: the plan, their manifests, and how many rows were generated."""

    plan: Plan
    manifests: list[Manifest]
    generated: int
    opened: int

    @property
    def table(self) -> pa.Table:
        """The rows of all shards, columns of `tasks.store.tables.SHARD`."""
        paths = [self.plan.predictions.folder / one.files[0].name for one in self.manifests]
        batches = [batch for path in paths for batch in read_batches(path)]
        return pa.Table.from_batches(batches, SHARD)

    @property
    def details(self) -> list[ShardDetails]:
        """The details of each shard."""
        return [ShardDetails.of(manifest) for manifest in self.manifests]


def write_passages(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as JSON lines; return the path."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def predict(store: Path, passages: Path, *overrides: str) -> Predicted:
    """Load passages and make the shards that the store does not have, with the fake engine."""
    settings = load_settings(
        ROOT / "configs/demo.yaml",
        [
            f"store.path={store}",
            f"dataset.predict_file={passages}",
            "export.engine=fake",
            "shards.rows_per_shard=8",
            "predict.batch_size=3",
            *overrides,
        ],
    )
    plan = make_plan(settings, ROOT / "data/checkpoint")
    folder = Path(plan.export.folder)
    if not folder.is_dir():
        folder.mkdir(parents=True)
        export_fake(plan.model_folder, settings.decode, folder)
    dataset = plan.dataset.find().manifest or load_passages(make_request(plan))
    runner = InProcessRunner(WorkerOrder.from_plan(plan, "cpu"))
    known = find_known_rows(plan, dataset) if settings.shards.reuse_rows else None
    manifests = [_make(job, runner, known) for job in plan_jobs(plan, dataset)]
    return Predicted(plan, manifests, runner.generated, runner.opened)


def _make(job: ShardJob, runner: InProcessRunner, known: KnownRows | None) -> Manifest:
    found = look_up(job).manifest
    if found is not None:
        return found
    part = None if known is None else known.of(job)
    manifest = ShardRun(job, runner, DeviceLimits(), _ignore, _ignore, part).finish()
    if known is not None:
        known.add(job, manifest)
    return manifest


def _ignore(_told: object) -> None:
    pass
