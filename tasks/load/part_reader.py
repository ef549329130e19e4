"""Reading ranges of a dataset's rows from its parts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import accumulate
from pathlib import PurePath

import pyarrow as pa

from tasks.addresses import ObjectPlace
from tasks.errors import StoreCorruptionError
from tasks.load.parts import DatasetDetails, has_losses
from tasks.store.manifest import Manifest, verify_files
from tasks.store.storage import FileEntry
from tasks.store.tables import DATASET, ROWS_AT_A_TIME, read_batches, without_losses

BYTES_KEPT = 1 << 26
"""Of a part: more than the tokens of one with `ROWS_PER_PART` rows."""


def read_dataset_parts(
    folder: PurePath, dataset: Manifest, start: int, stop: int, columns: Collection[str]
) -> Iterator[pa.Table]:
    """Yield the accepted rows [start, stop), counted from 0 without rejects, part by part.

    Only the parts with these rows are read, and only `columns`, which are in the order of
    `tasks.store.tables.DATASET`. Texts of all parts together can exceed what an array can hold; a
    part's tables consist of batches of `ROWS_AT_A_TIME`.

    Raises:
        ValueError: the dataset does not have these rows.
        StoreCorruptionError: a part cannot be read, or is not what its manifest says.
    """
    counts = DatasetDetails.of(dataset).part_rows
    if not 0 <= start <= stop <= sum(counts):
        raise ValueError(f"rows {start} to {stop} of {sum(counts)}")
    schema = DATASET if has_losses(dataset) else without_losses(DATASET)
    schema = pa.schema([field for field in schema if field.name in columns])
    # The files are the parts in order, then the rejects, which have no count.
    for entry, count, end in zip(dataset.files, counts, accumulate(counts), strict=False):
        first = end - count
        if first < stop and start < end:
            offset = max(start - first, 0)
            part = _PARTS.read(folder, entry, count, schema)
            yield part.slice(offset, min(stop, end) - first - offset)


class _Parts:
    """Keeps what was read last of each set of columns: the next shard often has rows of that part.

    A part is known by its sha256, so the content of a file that has been replaced is never mixed
    up. Larger parts than `BYTES_KEPT` are not kept.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], tuple[PurePath, FileEntry, pa.Table]] = {}

    def read(self, folder: PurePath, entry: FileEntry, rows: int, schema: pa.Schema) -> pa.Table:
        """Return some columns of a part."""
        names = tuple(schema.names)
        place, known, part = self._kept.get(names, (None, None, None))
        if part is None or (place, known) != (folder, entry):
            del part
            self._kept.pop(names, None)  # before another one needs memory
            if isinstance(folder, ObjectPlace):  # this machine may have its first copy of the part
                verify_files(folder, [entry])
            part = _read_part(folder / entry.name, rows, schema)
            if part.nbytes <= BYTES_KEPT:
                self._kept[names] = folder, entry, part
        return part


_PARTS = _Parts()


def _read_part(path: PurePath, rows: int, schema: pa.Schema) -> pa.Table:
    # In one batch, tokens take three times as much memory while they are read.
    table = pa.Table.from_batches(read_batches(path, schema.names, ROWS_AT_A_TIME), schema)
    if table.num_rows != rows:
        raise StoreCorruptionError(f"{path} has {table.num_rows} rows, its manifest says {rows}")
    return table
