"""Ranges of rows that will be shards, cut from the parts of a dataset that is being loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from tasks.load.parts import DatasetDetails, StagedPart
from tasks.load.row_keys import Keys, read_staged_keys
from tasks.plan.plan import Plan
from tasks.predict.jobs import ShardJob, StageJob
from tasks.predict.shards import Shard
from tasks.store.manifest import Manifest


@dataclass(frozen=True)
class Range(ShardJob):
    """A job for the rows of a later shard, read from the files that are there so far.

    Attributes:
        first: how many rows of the dataset are before them.
        staging: where the files are.
    """

    first: int
    staging: Path

    def read_ids(self) -> list[dict[str, Any]]:
        """Return `row` and `id` for pieces, which depend on the rows' tokens only."""
        return [{"row": position, "id": ""} for position in range(self.shard.rows)]

    def read_keys(self) -> Keys:
        """Return the keys of the rows, uint64 [rows, 2].

        Raises:
            StoreCorruptionError: they cannot be read; they are gone when the dataset is complete.
        """
        return read_staged_keys(self.staging, self.first, self.shard.rows)


class Ranges:
    """The ranges of a plan's dataset, in order; each is there when its last row is."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._size = plan, plan.settings.shards.rows_per_shard
        self._parts: list[StagedPart] = []
        self._taken = 0

    @property
    def has_next(self) -> bool:
        """Whether the next range is complete."""
        return sum(part.rows for part in self._parts) >= (self._taken + 1) * self._size

    def add(self, part: StagedPart) -> bool:
        """Add the next part; return whether it is one of the same dataset."""
        self._parts.append(part)
        return part.folder == self._parts[0].folder

    def take(self) -> Range:
        """Return the next range, which must be complete."""
        start = self._taken * self._size
        self._taken += 1
        ends = accumulate(part.rows for part in self._parts)
        parts = [
            (end - part.rows, part)
            for end, part in zip(ends, self._parts, strict=True)
            if start < end and end - part.rows < start + self._size
        ]
        offset, first = parts[0]
        stage = self._stage(first.folder, [part for _, part in parts])
        shard = Shard(0, 1, start - offset, start - offset + self._size)
        return Range(shard, stage, start, first.folder)

    def _stage(self, folder: Path, parts: list[StagedPart]) -> StageJob:
        counts = [part.rows for part in parts]
        rows = sum(counts)
        details = DatasetDetails(
            rows_in=rows,
            rows=rows,
            rejects=0,
            tokens=0,
            longest=0,
            part_rows=counts,
            reject_reasons={},
        )
        dataset = Manifest(
            kind="dataset",
            fingerprint=self._plan.dataset.fingerprint,
            decided_by=self._plan.dataset.decided_by,
            files=tuple(part.entry for part in parts),
            details=details.as_dict(),
        )
        return replace(StageJob.from_plan(self._plan, dataset), dataset_folder=folder)
