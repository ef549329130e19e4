"""Cutting the work: shards of contiguous rows, and batches of rows of similar length in a shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Rows [start, stop) of the accepted rows, as number `index` of `count` shards."""

    index: int
    count: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.stop - self.start

    @property
    def name(self) -> str:
        """What its files are named by."""
        return f"shard-{self.index:05d}-of-{self.count:05d}"

    @property
    def file_name(self) -> str:
        """Name of its Parquet file, if it was made of the planned batches."""
        return f"{self.name}.parquet"

    @property
    def manifest_name(self) -> str:
        """Name of its manifest."""
        return f"{self.name}.json"


def plan_shards(rows: int, rows_per_shard: int) -> list[Shard]:
    """Cut `rows` into contiguous ranges of `rows_per_shard`; the last one may be shorter."""
    starts = range(0, rows, rows_per_shard)
    return [
        Shard(index, len(starts), start, min(start + rows_per_shard, rows))
        for index, start in enumerate(starts)
    ]


def plan_batches(
    lengths: Sequence[int], batch_size: int, max_tokens_per_batch: int
) -> list[list[int]]:
    """Group row positions into batches of similar length, longest first.

    `lengths` are in tokens. A batch has at most `batch_size` rows and, padded to its longest row,
    at most `max_tokens_per_batch` tokens; a row that is longer than that is a batch of its own.
    Every position is in exactly one batch. Longest first, so that a batch that does not fit into
    the device's memory shows at once.
    """
    batches: list[list[int]] = []
    room = 0
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        if room == 0:
            batches.append([])
            room = min(batch_size, max(1, max_tokens_per_batch // lengths[position]))
        batches[-1].append(position)
        room -= 1
    return batches
