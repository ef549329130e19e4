"""The Parquet files: their schemas, and how they are written, checked and read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.errors import StoreCorruptionError
from tasks.store.files import commit_file, storage_of
from tasks.store.manifest import list_parts
from tasks.store.storage import FileEntry

# What the model does not see of a row; datasets of older versions lack these columns.
LOSSES = (
    # what was cut off (tasks.load.encoding.Cut); null for nothing
    pa.field("cut", pa.string()),
    # tokens that are [UNK]
    pa.field("unknown_tokens", pa.int32(), nullable=False),
)
DATASET = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # row of the input, from 0
        pa.field("id", pa.string(), nullable=False),
        pa.field("context", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("reference", pa.string()),  # the reference question, if the input has one
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("token_type_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("seq_len", pa.int32(), nullable=False),
        *LOSSES,
    ]
)
REJECTS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("line", pa.int64()),  # line of the file, from 1; null for Parquet, Arrow
        pa.field("id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
# where several files of passages are read: the name of the row's file, relative to their folder
REJECTS_OF_FILES = REJECTS.insert(1, pa.field("file", pa.string(), nullable=False))
_ALTERNATIVE = pa.struct([pa.field("question", pa.string()), pa.field("score", pa.float32())])
SHARD = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("score", pa.float32()),  # null if the engine returns no scores
        pa.field("output_ids", pa.list_(pa.int32()), nullable=False),
        # the other num_return_sequences - 1 questions, best first
        pa.field("alternatives", pa.list_(_ALTERNATIVE), nullable=False),
    ]
)
# of a question, computed from its `output_ids`
ENDINGS = (
    pa.field("is_finished", pa.bool_(), nullable=False),
    pa.field("token_count", pa.int32(), nullable=False),
)
PREDICTIONS = pa.schema(
    [
        *(SHARD.field(name) for name in ("row", "id")),
        *(DATASET.field(name) for name in ("context", "answer", "reference")),
        *(SHARD.field(name) for name in ("question", "score")),
        *ENDINGS,
        *(SHARD.field(name) for name in ("output_ids", "alternatives")),
        *LOSSES,
    ]
)


HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""The value null in the name of a folder, as Hive and Spark write it."""

GROUPS_PER_BATCH = 4
MOST_ROWS = 1 << 16  # of a batch
ROWS_AT_A_TIME = 1024  # of what is read only once
BYTES_PER_SORT = 1 << 30
CHARACTERS_PER_BATCH = 1 << 26
"""At most 256 MiB: strings have 32-bit offsets, so no batch may hold 2 GiB of text."""


def make_batches(
    records: Iterable[dict[str, Any]], schema: pa.Schema, most_rows: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield records as batches of at most `most_rows` rows and `CHARACTERS_PER_BATCH` of text.

    A record that has more text than that is a batch of its own.
    """
    waiting: list[dict[str, Any]] = []
    characters = 0
    for record in records:
        size = count_characters(record)
        if waiting and (len(waiting) == most_rows or characters + size > CHARACTERS_PER_BATCH):
            yield pa.RecordBatch.from_pylist(waiting, schema=schema)
            waiting, characters = [], 0
        waiting.append(record)
        characters += size
    if waiting:
        yield pa.RecordBatch.from_pylist(waiting, schema=schema)


def sort_rows(table: pa.Table, column: str) -> pa.Table:
    """Return a table sorted by a column of different integers.

    Sorting puts all texts of a column into one array, so a larger table is sorted in parts.
    """
    if table.nbytes < BYTES_PER_SORT or table.num_rows < 2:
        return table.sort_by(column)
    middle = pc.quantile(table[column], interpolation="lower")[0]
    is_low = pc.less_equal(table[column], pc.cast(middle, pa.int64()))
    parts = (table.filter(is_low), table.filter(pc.invert(is_low)))
    return pa.concat_tables([sort_rows(part, column) for part in parts])


def count_characters(value: object) -> int:
    """Return the number of characters in all strings of a value of JSON types."""
    characters, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            characters += len(one)
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list) and one and not isinstance(one[0], int):  # no list of tokens
            waiting += one
    return characters


def without_losses(schema: pa.Schema) -> pa.Schema:
    """Return a schema as older versions wrote it."""
    return pa.schema([field for field in schema if field not in LOSSES], schema.metadata)


def open_for_arrow(path: Path, mode: Literal["rb", "wb"] = "rb") -> pa.OSFile:
    """Open a file for pyarrow, which refuses names that are not UTF-8 and takes `a:b` for a URI.

    Raises:
        OSError: it cannot be opened.
    """
    return pa.OSFile(os.fsencode(path), mode)


def commit_table(
    place: PurePath, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> FileEntry:
    """Write `batches` of `schema` as one Parquet file, completely or not at all.

    Before the commit, the file is read back and its rows are counted.

    Returns:
        Name, size in bytes and sha256 of the file.

    Raises:
        StorageError: the disk is full or read-only, or permission is denied.
        StoreCorruptionError: reading the file back fails or gives another number of rows.
    """
    rows = 0

    def write(temporary: Path) -> None:
        nonlocal rows
        with (
            open_for_arrow(temporary, "wb") as file,
            pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows

    def check(temporary: Path) -> None:
        groups = read_groups(temporary, None, ROWS_AT_A_TIME)
        read = sum(batch.num_rows for _, batches in groups for batch in batches)
        if read != rows:
            raise StoreCorruptionError(f"{place} reads back as {read} rows, {rows} were written")

    return commit_file(place, write, check)


def read_batches(
    place: PurePath, columns: Sequence[str] | None = None, most_rows: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of a table (`list_parts`), verifying page checksums.

    A batch has rows of at most `GROUPS_PER_BATCH` row groups, because a batch of long texts could
    fill the memory. Columns are read one after the other: Arrow's threads take 20 % more CPU, and
    memory of their own.

    Args:
        place: the file, or the folder of the parts.
        columns: names of the columns to read; all by default.
        most_rows: of a batch. A few take a third of the memory; many are for what is kept as a
            whole.

    Raises:
        StoreCorruptionError: a file is missing, damaged or cannot be read.
        MemoryError: there is too little memory to read it.
    """
    for part in list_parts(place):
        for _, batches in read_groups(part.place, columns, most_rows or MOST_ROWS):
            yield from batches


def read_groups(
    place: PurePath,
    columns: Sequence[str] | None,
    most_rows: int,
    at_once: int = GROUPS_PER_BATCH,
    file: Path | None = None,
) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
    """Yield of some row groups of a file the number of rows, and the batches, which may be left.

    `file` is what the storage has fetched, if that has been done.
    """
    with (
        _reading(place),
        open_for_arrow(file or storage_of(place).fetch(place)) as opened,
        pq.ParquetFile(opened, page_checksum_verification=True) as table,
    ):
        groups, rows_of = range(table.num_row_groups), table.metadata.row_group
        for first in groups[::at_once]:
            some = list(groups[first : first + at_once])
            batches = table.iter_batches(most_rows, some, columns, use_threads=False)
            yield sum(rows_of(one).num_rows for one in some), _checked(place, batches)


def _checked(place: PurePath, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _reading(place):
        yield from batches


def read_schema(place: PurePath) -> pa.Schema:
    """Return the schema of a table, with its metadata.

    Raises:
        StoreCorruptionError: its first file is missing, damaged or cannot be read.
    """
    first = list_parts(place)[0].place
    with _reading(first), open_for_arrow(storage_of(first).fetch(first)) as file:
        return pq.read_schema(file)


@contextmanager
def _reading(place: PurePath) -> Iterator[None]:
    try:
        yield
    except MemoryError:  # which Arrow's is, too: the file may be whole
        raise
    except (pa.ArrowException, OSError) as error:
        raise StoreCorruptionError(f"{place} cannot be read: {error}") from error


def iterate_rows(place: PurePath, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file as dictionaries; `columns` as in `read_batches`.

    Raises:
        StoreCorruptionError: the file is missing, damaged or cannot be read.
    """
    for batch in read_batches(place, columns, ROWS_AT_A_TIME):
        values = zip(*map(list_values, batch.columns), strict=True)
        yield from (dict(zip(batch.schema.names, row, strict=True)) for row in values)


def list_values(column: pa.Array) -> list[Any]:
    """Return what `to_pylist` returns, for most columns in a tenth of its time."""
    kind = column.type
    if pa.types.is_string(kind):
        texts: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
        return texts
    if column.null_count == 0:
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            numbers: list[Any] = column.to_numpy().tolist()
            return numbers
        if pa.types.is_list(kind) and not len(column.flatten()):
            return [[] for _ in range(len(column))]
    values: list[Any] = column.to_pylist()
    return values


def split_lists(column: pa.ListArray) -> list[NDArray[Any]]:
    """Return each list of a column as an array that shares the column's memory."""
    offsets, values = column.offsets.to_numpy().tolist(), column.values.to_numpy()
    return [values[start:stop] for start, stop in pairwise(offsets)]


def spaced(count: int, most: int) -> list[int]:
    """Return `most` positions below `count`, evenly spaced from 0, or all if there are fewer."""
    kept = min(count, most)
    return [number * count // kept for number in range(kept)]
