"""The rows of all shards and all rejects, in input order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.aggregate.joining.endings import add_endings
from tasks.aggregate.partial import Missing
from tasks.errors import StoreCorruptionError
from tasks.load.parts import DatasetDetails
from tasks.predict.jobs import ShardOutcome
from tasks.predict.shards import ShardDetails, read_shard
from tasks.store.manifest import Manifest
from tasks.store.tables import DATASET, SHARD, iterate_rows, make_batches, read_batches

REJECTS_AT_A_TIME = 8192
ROWS_CHECKED = 1 << 16


def join_shards(
    outcomes: Iterable[ShardOutcome], schema: pa.Schema, eos: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all shards that were made; `schema` is `PREDICTIONS` or a part of it.

    A question is finished if its last token is `eos`.

    Raises:
        StoreCorruptionError: a shard's rows are not those of the dataset.
    """
    of_dataset = [name for name in schema.names if name in {*DATASET.names} - {*SHARD.names}]
    for outcome in outcomes:
        if outcome.manifest is not None:
            job = outcome.job
            parts = job.read_rows("row", "id", *of_dataset)
            for shard, rows in read_shard(job.stage.folder, outcome.manifest, parts):
                for name in of_dataset:
                    # A part's texts, which have few characters, fit into one array.
                    shard = shard.append_column(name, rows[name].combine_chunks())
                shard = add_endings(shard, eos)
                yield from shard.select(schema.names).cast(schema).to_batches()


def join_rejects(
    of_dataset: PurePath,
    details: DatasetDetails,
    shards: Sequence[Manifest],
    missing: Missing,
    dropped: Iterable[dict[str, Any]],
) -> Iterator[pa.RecordBatch]:
    """Yield the rows that load or predict rejected, missing and dropped ones, in input order.

    Their schema is `details.rejects_schema`.
    """
    of_shards = (one.model_dump() for shard in shards for one in ShardDetails.of(shard).rejects)
    sources = (iterate_rows(of_dataset), of_shards, missing.rejects(), dropped)
    merged = heapq.merge(*sources, key=itemgetter("row"))
    return make_batches(details.with_files(merged), details.rejects_schema, REJECTS_AT_A_TIME)


def check_rows(predictions: PurePath, rejects: PurePath, rows_in: int) -> None:
    """Check that both files together contain each input row exactly once.

    Raises:
        StoreCorruptionError: they do not.
    """
    if not has_each_once([_row_numbers(predictions), _row_numbers(rejects)], rows_in):
        raise StoreCorruptionError(
            f"{predictions} and {rejects} together do not contain every input row once; "
            "delete the dataset and the shards of this run from the store and run again"
        )


def _row_numbers(path: PurePath) -> Iterator[NDArray[np.int64]]:
    for batch in read_batches(path, ["row"]):
        yield batch["row"].to_numpy()


def has_each_once(sources: Sequence[Iterator[NDArray[np.int64]]], count: int) -> bool:
    """Return whether the sources together yield each of 0 … count-1 once, and no others.

    Each yields arrays, which must ascend for that. Memory does not depend on `count`.
    """
    readers = [_Ascending(source) for source in sources]
    for start in range(0, count, ROWS_CHECKED):
        stop = min(start + ROWS_CHECKED, count)
        some = np.sort(np.concatenate([part for one in readers for part in one.below(stop)]))
        if not np.array_equal(some, np.arange(start, stop)):
            return False
    return all(one.is_at_end for one in readers)


class _Ascending:
    """Takes ascending integers, which arrays have, from the front."""

    def __init__(self, source: Iterator[NDArray[np.int64]]) -> None:
        self._source, self._left = source, np.empty(0, np.int64)

    def below(self, stop: int) -> Iterator[NDArray[np.int64]]:
        """Yield the next integers, up to the first that is not below `stop`."""
        while not self._left.size or self._left[-1] < stop:
            yield self._left
            self._left = np.empty(0, np.int64)
            if (following := next(self._source, None)) is None:
                return
            self._left = following
        count = int(np.searchsorted(self._left, stop))
        yield self._left[:count]
        self._left = self._left[count:]

    @property
    def is_at_end(self) -> bool:
        """Whether there are no more integers."""
        return not self._left.size and not any(part.size for part in self._source)
