"""The interfaces between the predict stage and whoever makes its shards.

`ShardPool` is what the stage asks for shards. It drives `BatchRunner`s, one for each device, which
generate batches and know nothing of shards on disk, retries or claims. Where a runner does its work
is its own affair: `local.py` has a child process; a runner on another machine is one more file.

The requests are what crosses to the other side, for runners whose other side is another process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tasks.config.settings import DatasetSettings, PredictSettings
from tasks.engine.model_files import ModelFiles
from tasks.plan.plan import Plan
from tasks.predict.jobs import ShardJob, StageJob
from tasks.predict.questions import Question
from tasks.predict.shards import Shard
from tasks.store.claims import Made
from tasks.store.files import storage_of


class ShardPool(Protocol):
    """Makes shards on several devices at once; its methods may be called from several threads."""

    @property
    def size(self) -> int:
        """How many shards can be made at once."""

    def generate(self, job: ShardJob, wait: bool) -> Made | None:
        """Return the job's shard, made now unless the store has it.

        While another run is making it, wait for that run or, without `wait`, return None at once.

        Raises:
            WorkerError: no batch can be generated on this device, not even of good rows.
            StoppedError: the pool was closed.
            StorageError: the shard cannot be written.
            WentiError, OSError: what kept a worker from loading the model or the rows.
        """

    def close(self) -> None:
        """End every worker; calls of `generate` that are running raise `StoppedError`."""

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return what each worker did and used, by its name, as metrics.json has it.

        `shards`, `rows`, `busy_seconds`, and the figures of `BatchRunner.usage`.
        """


class BatchRunner(Protocol):
    """Generates batches on one device; it loads its model when it first opens a shard.

    One thread at a time opens, runs, checks and restarts; `close` and `measure` may come from
    others. After `close` every request raises `StoppedError`.
    """

    @property
    def device(self) -> str:
        """The device as the config names it, such as `gpu:0`."""

    def open(self, job: ShardJob) -> None:
        """Read the shard's rows, which `run` then refers to.

        Raises:
            WorkerError: the worker died or, as `BatchTimeoutError`, was not ready in time.
            StoppedError: the runner was closed.
            WentiError, OSError: what kept it from loading the model or the rows.
        """

    def run(self, positions: Sequence[int], seconds: float) -> list[list[Question]]:
        """Generate one batch of the open shard.

        Args:
            positions: which rows, counted from 0 within the shard.
            seconds: how long it may take.

        Returns:
            For each position, in their order, the row's questions, best first: at least one.

        Raises:
            OutOfMemoryError: the batch does not fit into the device's memory.
            BatchTimeoutError: it was not done in time; only `restart` helps.
            BadOutputError: the model returned invalid output.
            WorkerError: the worker died; only `restart` helps.
            StoppedError: the runner was closed.
            WentiError, OSError: a fault that neither another attempt nor a smaller batch cures.
        """

    def check(self) -> None:
        """Generate a batch of rows that are known to be good.

        Raises:
            WorkerError: that fails too, so that the fault is not the rows'. Else as `run`.
        """

    def restart(self) -> None:
        """Drop the worker, whatever state it is in; the next `open` starts a new one."""

    def close(self) -> None:
        """End the worker for good; a request that is running raises `StoppedError`."""

    def measure(self) -> None:
        """Note what the worker uses of its device now; does nothing without a worker."""

    def usage(self) -> dict[str, Any]:
        """Return what was noted, as metrics.json has it; memory is in MB of 10^6 bytes.

        On a CPU `peak_memory_mb` and `cpu_seconds`; on a GPU `name`, `memory_mb`, `peak_memory_mb`
        and `utilisation_percent`; nothing if the device cannot be measured.
        """


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker needs to load its model."""

    device: str
    export_folder: Path
    tokenizer: ModelFiles
    dataset: DatasetSettings
    predict: PredictSettings

    @classmethod
    def from_plan(cls, plan: Plan, device: str) -> WorkerOrder:
        """Return the order for a worker of this machine on one device of a plan."""
        return cls(
            device=device,
            export_folder=storage_of(plan.export.folder).fetch(plan.export.folder),
            tokenizer=plan.tokenizer_files,
            dataset=plan.settings.dataset,
            predict=plan.settings.predict,
        )


Answer = TypeVar("Answer")


class Request(Generic[Answer]):
    """A message to a worker, which answers with an `Answer` or with the error that ended it."""


@dataclass(frozen=True)
class OpenStage(Request[None]):
    """Tell of which stage the shards are that are opened from now on."""

    stage: StageJob


@dataclass(frozen=True)
class OpenShard(Request[None]):
    """Load the model, if need be, and the shard's rows; the answer only says that it worked."""

    shard: Shard


@dataclass(frozen=True)
class RunBatch(Request[list[list[Question]]]):
    """Generate for rows of the open shard; the answer is each row's questions, best first."""

    positions: tuple[int, ...]


@dataclass(frozen=True)
class CheckHealth(Request[None]):
    """Generate for rows that are known to be good; the answer only says that it worked."""
