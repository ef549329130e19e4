"""The checkpoint of the kept columns: one Parquet file with a row for each row of the input.

The type of a column is known only at the end, so chunks of rows are written to a staging folder
first, each with the types that its own values have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from tasks.columns.chunks import Column, Columns, TableReader, join, of_records
from tasks.columns.source import Asked, Kept, Source, name_results
from tasks.columns.types import unify
from tasks.store.manifest import Details
from tasks.store.storage import FileEntry
from tasks.store.tables import (
    CHARACTERS_PER_BATCH,
    commit_table,
    count_characters,
    open_for_arrow,
)

COLUMNS_FILE = "columns.parquet"
ROWS_PER_CHUNK = 8192
MOST_COLUMNS = 1000
"""More are rather data in the names of fields of JSON, and every reader would suffer from them."""


class ColumnsDetails(Details):
    """What the manifest of kept columns says.

    Attributes:
        rows: rows of the input; there is no file if there are no columns.
        names: the columns, as they are named in the results.
        missing: columns that were asked for, but that no row has; they have no values.
        left_out: whether there were more than `MOST_COLUMNS`.
    """

    rows: int
    names: list[str]
    missing: list[str]
    left_out: bool = False


@dataclass(frozen=True)
class _Chunk:
    """Consecutive rows in a file of the staging folder; `types` are those of `Column`."""

    path: Path
    rows: int
    types: Mapping[str, pa.DataType | None]

    def read(self) -> Columns:
        if not self.types:
            return {}
        with open_for_arrow(self.path) as file:
            batch = pa.ipc.open_file(file).get_batch(0)
        return {
            name: Column(values, kind)
            for values, (name, kind) in zip(batch.columns, self.types.items(), strict=True)
        }


@dataclass(frozen=True)
class Written:
    """What a `ColumnsWriter` has written of some rows, for that of all rows.

    Attributes:
        chunks: the rows, in files.
        names: the columns, in the order in which they came.
        left_out: whether there were more than `MOST_COLUMNS`.
    """

    chunks: tuple[_Chunk, ...]
    names: tuple[str, ...]
    left_out: bool


class ColumnsWriter:
    """Writes the kept columns of rows, one after the other.

    Args:
        staging: a folder for temporary files.
        asked: `dataset.keep_columns`.
    """

    def __init__(self, staging: Path, asked: Asked) -> None:
        self._staging, self._asked = staging, asked
        self._chunks: list[_Chunk] = []
        self._names: dict[str, None] = {}  # in the order in which they come
        self._left_out = False
        self._records: list[dict[str, Any]] = []
        self._positions: list[int] = []
        self._characters = 0
        self._table: TableReader | None = None
        self._source: Source | None = None  # of `_table`

    def add(self, kept: Kept) -> None:
        """Add the next row."""
        source, row = kept
        if isinstance(row, int):
            self._add_position(source, row)
            return
        self._flush_positions()
        self._records.append(row)
        self._characters += count_characters(row) if row else 0
        if len(self._records) >= ROWS_PER_CHUNK or self._characters >= CHARACTERS_PER_BATCH:
            self._flush_records()

    def written(self) -> Written:
        """Return what is written, after a `flush`."""
        return Written(tuple(self._chunks), tuple(self._names), self._left_out)

    def join(self, written: Written) -> None:
        """Add rows that another one has written, whose staging folder is still there."""
        self._known(dict.fromkeys(written.names))
        self._left_out |= written.left_out
        self._chunks += written.chunks

    def publish(self, folder: PurePath) -> tuple[tuple[FileEntry, ...], ColumnsDetails]:
        """Write the file of all rows into `folder`.

        Returns:
            The files and the details of the manifest.

        Raises:
            StorageError: it cannot be written.
        """
        self.flush()
        asked = () if isinstance(self._asked, str) else self._asked
        missing = [name for name in asked if name not in self._names]
        names = [*self._names, *missing]
        details = ColumnsDetails(
            rows=sum(chunk.rows for chunk in self._chunks),
            names=[*name_results(names).values()],
            missing=missing,
            left_out=self._left_out,
        )
        if not names:
            return (), details
        return (self._commit(folder / COLUMNS_FILE, names),), details

    def _add_position(self, source: Source, position: int) -> None:
        if self._source is not source:
            self.flush()
            self._source, self._table = source, TableReader(source, self._asked)
        self._positions.append(position)
        if len(self._positions) >= ROWS_PER_CHUNK:
            self._flush_positions()

    def flush(self) -> None:
        """Write all rows that are still in memory, or in a table.

        Raises:
            InputError: the table cannot be read.
        """
        self._flush_records()
        self._flush_positions()

    def _flush_records(self) -> None:
        if self._records:
            names = dict.fromkeys(name for record in self._records for name in record)
            self._write(len(self._records), of_records(self._records, self._known(names)))
            self._records, self._characters = [], 0

    def _flush_positions(self) -> None:
        """Write the rows of the table, in chunks that are not too large."""
        if not self._positions or self._table is None:
            return
        parts, rows, size = list[Columns](), 0, 0
        for count, columns in self._table.take(self._positions):
            parts.append({name: columns[name] for name in self._known(columns)})
            rows, size = rows + count, size + sum(one.values.nbytes for one in columns.values())
            if size >= CHARACTERS_PER_BATCH:
                self._write(rows, join(parts))
                parts, rows, size = [], 0, 0
        if parts:
            self._write(rows, join(parts))
        self._positions = []

    def _known(self, names: Mapping[str, object]) -> list[str]:
        """Return the names of columns that are kept, which are the first `MOST_COLUMNS` of all."""
        for name in names:
            if len(self._names) < MOST_COLUMNS:
                self._names.setdefault(name)
        found = [name for name in names if name in self._names]
        self._left_out |= len(found) < len(names)
        return found

    def _write(self, rows: int, columns: Columns) -> None:
        path = self._staging / f"chunk-{len(self._chunks):05d}.arrow"
        if columns:
            numbers = map(str, range(len(columns)))
            batch = pa.record_batch(
                {number: one.values for number, one in zip(numbers, columns.values(), strict=True)}
            )
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with (
                open_for_arrow(path, "wb") as file,
                pa.ipc.new_file(file, batch.schema, options=options) as writer,
            ):
                writer.write_batch(batch)
        types = {name: one.type for name, one in columns.items()}
        self._chunks.append(_Chunk(path, rows, types))

    def _commit(self, path: PurePath, names: list[str]) -> FileEntry:
        """Write all chunks; a column whose values do not fit its type becomes JSON text."""
        types = {
            name: unify(one.types[name] for one in self._chunks if name in one.types)
            for name in names
        }
        while True:
            try:
                return commit_table(path, _schema(types), self._convert(types))
            except _MisfitError as misfit:
                types[misfit.name] = None

    def _convert(self, types: Mapping[str, pa.DataType | None]) -> Iterator[pa.RecordBatch]:
        schema = _schema(types)
        for chunk in self._chunks:
            columns = chunk.read()
            arrays = []
            for (name, kind), field in zip(types.items(), schema, strict=True):
                column = columns.get(name)
                values = (
                    pa.nulls(chunk.rows, field.type) if column is None else column.convert(kind)
                )
                if values is None:
                    raise _MisfitError(name)
                arrays.append(values)
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


class _MisfitError(Exception):
    """A column has a value that the type of all its values does not have."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _schema(types: Mapping[str, pa.DataType | None]) -> pa.Schema:
    """Return the schema of columns; each says which column of the input it is, and how."""
    results = name_results(types)
    return pa.schema(
        [
            pa.field(results[name], kind or pa.string(), metadata=_describe(name, kind is None))
            for name, kind in types.items()
        ]
    )


def _describe(name: str, is_json: bool) -> dict[str, str]:
    how = ", as JSON text, because its values have several types" if is_json else ""
    return {"description": f"column {name!r} of the input{how}"}
