"""What makes shards on a node: a worker process there, as on one machine, and its limits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.addresses import absolute_place
from tasks.cluster.messages import Tell
from tasks.config.settings import DatasetSettings, PredictSettings
from tasks.engine.gpu.driver import device_names
from tasks.engine.model_files import ModelFiles
from tasks.engine.paddle.installation import find_releases, require_releases
from tasks.errors import StoreCorruptionError, WorkerError
from tasks.plan.plan import Plan, PlannedCheckpoint
from tasks.predict.jobs import ShardJob, StageJob, look_up
from tasks.predict.known_rows import KnownPart
from tasks.predict.shards import Shard
from tasks.predict.workers.base import WorkerOrder
from tasks.predict.workers.batch_limits import DeviceLimits
from tasks.predict.workers.local import LocalWorker
from tasks.predict.workers.shard_runner import ShardRun
from tasks.predict.workers.usage import Sampler
from tasks.store.files import storage_of
from tasks.store.manifest import Manifest


@dataclass(frozen=True)
class ShardWork:
    """A shard for a place to make, and what of it needs no generating."""

    shard: Shard
    known: KnownPart | None


@dataclass(frozen=True)
class RowsDone:
    """So many rows of the shard are done; a number below 0 takes them back."""

    rows: int


@dataclass(frozen=True)
class BatchFailed:
    """A batch has failed in the worker, which goes on."""

    error: WorkerError


@dataclass(frozen=True)
class MadeShard:
    """A shard that a place has made, in so many seconds, and what its worker has used so far."""

    manifest: Manifest
    seconds: float
    usage: Mapping[str, Any]


@dataclass(frozen=True)
class PlaceOrder:
    """What a place needs to make shards: a `tasks.cluster.messages.WorkerFactory`.

    Attributes:
        export: the checkpoint of the model, which each node takes from the store.
        tokenizer: its files, which come along.
        stage: of which the shards are.
        releases: of Paddle and PaddleNLP, with which the run is planned.
        is_forced: make shards even if the store has them.
    """

    export: PlannedCheckpoint
    tokenizer: ModelFiles
    dataset: DatasetSettings
    predict: PredictSettings
    stage: StageJob
    releases: Mapping[str, str]
    is_forced: bool

    @classmethod
    def from_plan(cls, plan: Plan, stage: StageJob, is_forced: bool) -> PlaceOrder:
        """Return the order for every place of a plan; its paths hold in any working folder.

        Raises:
            ModelError: a file of the tokenizer cannot be read, or has changed.
        """
        folder, dataset = absolute_place(stage.folder), absolute_place(stage.dataset_folder)
        return cls(
            export=replace(plan.export, folder=absolute_place(plan.export.folder)),
            tokenizer=plan.tokenizer_files.carried(),
            dataset=plan.settings.dataset,
            predict=plan.settings.predict.at_place(),
            stage=replace(stage, dataset_folder=dataset, folder=folder),
            releases=find_releases(),
            is_forced=is_forced,
        )

    def start(self) -> ShardMaker:
        """Return what makes the shards; its process starts with the first one.

        Raises:
            InstallationError: this node has another Paddle.
            StoreCorruptionError: the export is not in the store as this node sees it, or damaged.
            StorageError: this node cannot use the store.
        """
        require_releases(self.releases)
        return ShardMaker(self, self._fetch_export())

    def _fetch_export(self) -> Path:
        found, folder = self.export.find(), self.export.folder
        if found.manifest is None:
            problem = found.damage or f"{folder} is not there"
            raise StoreCorruptionError(f"this node does not see the export of the run: {problem}")
        return storage_of(folder).fetch(folder)


class ShardMaker:
    """Makes one shard after the other: a `tasks.cluster.messages.Worker`."""

    def __init__(self, order: PlaceOrder, export_folder: Path) -> None:
        self._order, predict = order, order.predict
        (device,) = device_names(predict)
        self._runner = LocalWorker(
            WorkerOrder(device, export_folder, order.tokenizer, order.dataset, predict)
        )
        self._limits = DeviceLimits(fixed_seconds=predict.batch_deadline_seconds)
        self._sampler = Sampler([self._runner.measure])

    def work(self, job: object, tell: Tell) -> MadeShard:
        """Return a shard, made now unless the store has it: from a place that is lost, or slow."""
        if not isinstance(job, ShardWork):
            raise TypeError(f"no place makes a {type(job).__name__}")
        started, order = time.monotonic(), self._order
        shard = ShardJob(job.shard, order.stage)
        found = None if order.is_forced else look_up(shard).manifest
        manifest = found or self._make(shard, job.known, tell)
        self._runner.measure()
        return MadeShard(manifest, time.monotonic() - started, self._runner.usage())

    def close(self) -> None:
        """End the process."""
        self._runner.close()
        self._sampler.stop()

    def _make(self, shard: ShardJob, known: KnownPart | None, tell: Tell) -> Manifest:
        def advance(rows: int) -> None:
            tell(RowsDone(rows))

        def note_failure(error: WorkerError) -> None:
            tell(BatchFailed(error))

        try:
            run = ShardRun(shard, self._runner, self._limits, advance, note_failure, known)
            return run.finish()
        except WorkerError:
            self._runner.restart()
            raise
