"""The interfaces between a run and whatever generates its batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.config.settings import DatasetSettings, PredictSettings
from tasks.predict.jobs import ShardJob
from tasks.predict.questions import Question


class BatchRunner(Protocol):
    """A worker, as a shard sees it."""

    def open(self, job: ShardJob) -> list[int]:
        """Load the model, if need be, and the shard's rows; gives their lengths in tokens."""

    def run(self, positions: Sequence[int], seconds: float) -> list[list[Question]]:
        """Generate for these rows of the open shard within `seconds`.

        Raises:
            OutOfMemoryError: the batch does not fit into the device's memory.
            WorkerError: anything else that another attempt, or a smaller batch, may cure.
        """

    def check(self) -> None:
        """Generate for rows that are known to be good; raises `WorkerError` if that fails too."""

    def restart(self) -> None:
        """End the process and start a new one that has no shard open."""


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker needs to load its model."""

    device: str
    export_folder: Path
    model_folder: Path
    dataset: DatasetSettings
    predict: PredictSettings
