"""A made-up dataset, jobs over it, and a worker without a process that fails on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.errors import (
    BadOutputError,
    BatchTimeoutError,
    OutOfMemoryError,
    StoppedError,
    WorkerError,
)
from tasks.load.parts import REJECTS_FILE, DatasetDetails
from tasks.predict.jobs import ShardJob, StageJob
from tasks.predict.questions import Question
from tasks.predict.shards import Shard
from tasks.store.manifest import Manifest
from tasks.store.tables import DATASET, REJECTS, commit_table

LENGTHS = [5, 60, 7, 300, 12, 9, 60, 31, 8, 8, 8, 8, 250, 6, 40, 41]
FAULTS: dict[str, type[WorkerError]] = {
    "crash": WorkerError,
    "hang": BatchTimeoutError,
    "nonsense": BadOutputError,
}
ERRORS = {**FAULTS, "no room": OutOfMemoryError}


@dataclass
class FaultyRunner:
    """A worker that fails on chosen rows: always, or only the first `times` times."""

    faults: dict[int, str] = field(default_factory=dict)
    times: float = float("inf")
    memory: float = float("inf")  # padded tokens that fit
    is_broken: bool = False  # fails on every row
    device: str = "cpu"
    job: ShardJob | None = None
    batches: list[list[int]] = field(default_factory=list)
    restarts: int = 0
    is_closed: bool = False

    def open(self, job: ShardJob) -> None:
        if self.is_closed:
            raise StoppedError("closed")
        self.job = job

    def run(self, positions: Sequence[int], seconds: float) -> list[list[Question]]:
        assert self.job is not None, "no shard is open"
        assert seconds > 0
        self.batches.append(list(positions))
        start = self.job.shard.start
        rows = [start + position for position in positions]
        if len(rows) * max(LENGTHS[row] for row in rows) > self.memory:
            raise OutOfMemoryError("too large")
        self.check()
        for row in rows:
            if row in self.faults and self.times > 0:
                self.times -= 1
                raise ERRORS[self.faults[row]](f"{self.faults[row]} in a batch")
        return [[Question(f"question {row}", row / 8, [row, 3], True)] for row in rows]

    def check(self) -> None:
        assert self.job is not None, "no shard is open"
        if self.is_broken:
            raise WorkerError("broken")

    def restart(self) -> None:
        self.job = None
        self.restarts += 1

    def close(self) -> None:
        self.is_closed = True

    def measure(self) -> None:
        pass

    def usage(self) -> dict[str, Any]:
        return {"batches": len(self.batches)}


def write_dataset(folder: Path) -> Manifest:
    """Write a dataset with a row for each of LENGTHS tokens; return its manifest."""
    texts = {"context": "c", "answer": "a", "reference": None, "unknown_tokens": 0}
    rows = [
        {"row": number, "id": f"id-{number}", **texts, "seq_len": length}
        | {"input_ids": [1] * length, "token_type_ids": [0] * length}
        for number, length in enumerate(LENGTHS)
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=DATASET)
    part = commit_table(folder / "part-00000-of-00001.parquet", DATASET, [batch])
    rejects = commit_table(folder / REJECTS_FILE, REJECTS, [])
    details = DatasetDetails(
        rows_in=len(rows),
        rows=len(rows),
        rejects=0,
        tokens=sum(LENGTHS),
        longest=max(LENGTHS),
        part_rows=[len(rows)],
        reject_reasons={},
        cut={},
        unknown_tokens=0,
        unknown_rows=0,
    )
    return Manifest(
        kind="dataset",
        fingerprint="d",
        decided_by={},
        files=(part, rejects),
        details=details.as_dict(),
    )


@dataclass(frozen=True)
class Dataset:
    """A made-up dataset, and jobs over it."""

    folder: Path
    manifest: Manifest

    def job(self, folder: Path, shard: Shard, batch_size: int = 8) -> ShardJob:
        """Return the job of making a shard of the dataset in a folder."""
        stage = StageJob(
            dataset_folder=self.folder,
            dataset=self.manifest,
            folder=folder,
            fingerprint="p",
            decided_by={"stage": "test"},
            batch_size=batch_size,
            max_tokens_per_batch=1024,
        )
        return ShardJob(shard, stage)
