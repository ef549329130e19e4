"""Writing a table as one Parquet file or in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import PurePath

import pyarrow as pa

from tasks.store.manifest import (
    PARTS_MANIFEST,
    Manifest,
    PartsDetails,
    commit_manifest,
    describe_table,
    fingerprint,
)
from tasks.store.storage import FileEntry
from tasks.store.tables import commit_table

ROWS_PER_PART = 1 << 18
"""Some 100 to 300 MB of predictions."""

FORMAT = 1


def commit_in_form(
    place: PurePath, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> FileEntry:
    """Write a table as the form of its place asks (`tasks.store.manifest.list_parts`).

    Each part is written as `tasks.store.tables.commit_table` writes a file, and then the manifest.

    Returns:
        What `tasks.store.manifest.describe_table` does.

    Raises:
        StorageError: a file cannot be written.
        StoreCorruptionError: reading one back fails or gives another number of rows.
    """
    if place.suffix:
        return commit_table(place, schema, batches)
    files, counts = [], list[int]()
    for number, part in groupby(_number_parts(batches, schema), itemgetter(0)):
        counts.append(0)
        counted = _count(counts, (batch for _, batch in part))
        files.append(commit_table(place / name_part(number), schema, counted))
    return commit_parts(place, files, counts)


def name_part(number: int) -> str:
    """Return the name of the file of a part."""
    return f"part-{number:05d}.parquet"


def commit_parts(place: PurePath, files: Sequence[FileEntry], counts: Sequence[int]) -> FileEntry:
    """Write the manifest of a table in parts, which have been committed; return as above.

    `counts` are the rows of each part.

    Raises:
        StorageError: it cannot be written.
    """
    decided_by = {"stage": "aggregate", "format": FORMAT, "rows_per_part": ROWS_PER_PART}
    manifest = Manifest(
        kind="parts",
        fingerprint=fingerprint(decided_by),
        decided_by=decided_by,
        files=tuple(files),
        details=PartsDetails(part_rows=list(counts)).as_dict(),
    )
    commit_manifest(place / PARTS_MANIFEST, manifest)
    return describe_table(place)


def _number_parts(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows with the number of their part; a table without rows has a part, too."""
    done = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            some = batch.slice(start, ROWS_PER_PART - done % ROWS_PER_PART)
            yield done // ROWS_PER_PART, some
            start += some.num_rows
            done += some.num_rows
    if not done:
        yield 0, pa.RecordBatch.from_pylist([], schema)


def _count(counts: list[int], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches; add their rows to the last of the counts."""
    for batch in batches:
        counts[-1] += batch.num_rows
        yield batch
