"""Reading rows of a table by their positions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from tasks.store.files import storage_of
from tasks.store.manifest import list_parts
from tasks.store.tables import ROWS_AT_A_TIME, read_groups


def take_places(
    place: PurePath, places: Sequence[int], columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield selected rows of a table; files and row groups that have none of them are not read.

    Args:
        place: of the table.
        places: positions of the rows in the table, from 0, in ascending order.
        columns: names of the columns to read; all by default.

    Raises:
        StoreCorruptionError: a file is missing, damaged or cannot be read.
    """

    def within(first: int, rows: int) -> Sequence[int]:
        return places[bisect_left(places, first) : bisect_left(places, first + rows)]

    first = 0
    for part in list_parts(place):
        if part.rows is not None and not within(first, part.rows):
            first += part.rows
            continue
        for rows, batches in read_groups(part.place, columns, ROWS_AT_A_TIME):
            start = first
            for batch in batches if within(first, rows) else ():
                some = within(start, batch.num_rows)
                yield batch.take(pa.array([one - start for one in some], pa.int64()))
                start += batch.num_rows
            first += rows


def read_places(
    place: PurePath, places: Sequence[int], columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield what `take_places` yields as dictionaries."""
    for rows in take_places(place, places, columns):
        yield from rows.to_pylist()


def local_folder(table: PurePath) -> Path:
    """Return the folder on this machine that has the first file of a table.

    It has room for a temporary file; the folder for those may be in memory.
    """
    first = list_parts(table)[0].place
    return storage_of(first).fetch(first).parent
