"""The rows of the predictions, and parts of them that several processes write."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import PurePath

import pyarrow as pa

from tasks.aggregate.joining.shards import join_shards
from tasks.columns.join import KeptColumns
from tasks.parallel.rows import RowHelpers
from tasks.predict.jobs import ShardOutcome
from tasks.predict.shards import ShardDetails
from tasks.store.parted import write
from tasks.store.parted.write import commit_in_form, commit_parts, name_part
from tasks.store.storage import FileEntry
from tasks.store.tables import commit_table


@dataclass(frozen=True)
class JoinedRows:
    """The rows of shards with those of the dataset and the kept columns of the input.

    Attributes:
        outcomes: the shards that were made.
        own_schema: `PREDICTIONS` or a part of it.
        eos: a question is finished if this is its last token.
        kept: the kept columns, if any.
        first: rows at the beginning that are passed over.
        count: rows after these; None: all.
        number: of the part that these rows are.
    """

    outcomes: tuple[ShardOutcome, ...]
    own_schema: pa.Schema
    eos: int
    kept: KeptColumns | None = None
    first: int = 0
    count: int | None = None
    number: int = 0

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows."""
        return pa.schema([*self.own_schema, *(self.kept.schema if self.kept else ())])

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, in input order.

        Raises:
            StoreCorruptionError: a shard's rows are not those of the dataset, or a kept row is
                missing.
        """
        joined = join_shards(self.outcomes, self.own_schema, self.eos)
        if self.kept is not None:
            joined = self.kept.add_to(joined)
        return joined if self.count is None else _cut(joined, self.first, self.count)

    def divide(self, rows_per_part: int) -> Iterator[JoinedRows]:
        """Yield the rows in parts."""
        counts = (ShardDetails.of(one.manifest).rows for one in self.outcomes if one.manifest)
        ends = [0, *accumulate(counts)]
        for number, start in enumerate(range(0, ends[-1], rows_per_part)):
            stop = min(start + rows_per_part, ends[-1])
            shard = bisect_right(ends, start) - 1
            yield replace(
                self,
                outcomes=self.outcomes[shard : bisect_left(ends, stop)],
                first=start - ends[shard],
                count=stop - start,
                number=number,
            )


def commit_joined(
    place: PurePath, schema: pa.Schema, rows: JoinedRows, helpers: RowHelpers
) -> FileEntry:
    """Write rows as `commit_in_form` does; if they are in parts, helpers write these.

    Raises:
        StoreCorruptionError: the rows cannot be read.
        StorageError: a file cannot be written.
        WorkerError: a helper died.
    """
    parts = list(rows.divide(write.ROWS_PER_PART)) if helpers.count and not place.suffix else []
    if not parts:
        return commit_in_form(place, schema, rows.read())
    files = list(helpers.compute(partial(_commit_part, place, schema), parts))
    return commit_parts(place, files, [part.count or 0 for part in parts])


def _commit_part(place: PurePath, schema: pa.Schema, part: JoinedRows) -> Iterator[FileEntry]:
    yield commit_table(place / name_part(part.number), schema, part.read())


def _cut(batches: Iterator[pa.RecordBatch], first: int, count: int) -> Iterator[pa.RecordBatch]:
    """Yield `count` rows after the first ones."""
    for batch in batches:
        some = batch.slice(min(first, batch.num_rows), count)
        first = max(0, first - batch.num_rows)
        if some.num_rows:
            yield some
            count -= some.num_rows
        if not count:
            return
