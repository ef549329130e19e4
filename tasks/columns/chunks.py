"""Some rows as Arrow columns: of tables as they are, of other files as their values allow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from tasks.columns.source import Asked, Source
from tasks.columns.types import infer_type, is_writable, make_array
from tasks.columns.values import as_json, python_values
from tasks.errors import InputError
from tasks.passages.formats.tables import open_table


@dataclass(frozen=True)
class Column:
    """A column of a chunk.

    Attributes:
        values: as they are in Arrow; JSON text of values that are nested or have no common type.
        type: their type, if they have a common one.
    """

    values: pa.Array
    type: pa.DataType | None

    def convert(self, kind: pa.DataType | None) -> pa.Array | None:
        """Return the values as another type, None for JSON text; None if they cannot be."""
        is_json = self.type is None or not self.values.type.equals(self.type)
        if kind is None:
            return self.values if is_json else _as_json(self.values)
        if is_json:
            texts = self.values.to_pylist()
            return make_array([None if one is None else json.loads(one) for one in texts], kind)
        try:
            return self.values.cast(kind)
        except pa.ArrowException:
            return None


Columns = dict[str, Column]


def of_records(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Columns:
    """Return the values of records by name."""
    return {name: _of_values([one.get(name) for one in records]) for name in names}


def _of_values(values: Sequence[Any]) -> Column:
    kind = infer_type(values)
    if kind is not None and not kinds.is_nested(kind):
        array = make_array(values, kind)
        if array is not None:
            return Column(array, kind)
        kind = None
    if kind is not None and make_array(values, kind) is None:
        kind = None
    return Column(pa.array([as_json(value) for value in values], pa.string()), kind)


class TableReader:
    """The kept columns of a table, read from its beginning to its end.

    Args:
        source: the table.
        asked: `dataset.keep_columns`.
    """

    def __init__(self, source: Source, asked: Asked) -> None:
        self._source = source
        names, self._folders = source.layout.names, source.layout.folders
        in_file = names[: len(names) - len(source.layout.extra)]
        self._names = source.select(dict.fromkeys([*in_file, *self._folders]), asked)
        self._is_read = any(name in in_file for name in self._names)
        self._batches = self._read()
        self._rows, self._batch = 0, dict[str, Column]()
        self._first = 0  # the position of the first row of `_batch`, which has `_rows`

    def take(self, positions: Sequence[int]) -> Iterator[tuple[int, Columns]]:
        """Yield the rows at ascending positions, not below those of the last call, in some batches.

        Yields:
            How many rows they are, and their columns.

        Raises:
            InputError: the columns cannot be read, or the table has fewer rows.
            MemoryError: there is too little memory to read them.
        """
        if not self._is_read:
            yield (
                len(positions),
                {name: self._of_folder(name, len(positions)) for name in self._names},
            )
            return
        left = np.asarray(positions, np.int64)
        while left.size:
            while left[0] >= self._first + self._rows:
                self._first += self._rows
                self._rows, self._batch = self._next(left[0])
            count = int(np.searchsorted(left, self._first + self._rows))
            chosen = pa.array(left[:count] - self._first)
            yield (
                count,
                {
                    name: Column(one.values.take(chosen), one.type)
                    for name, one in self._batch.items()
                },
            )
            left = left[count:]

    def _next(self, position: int) -> tuple[int, Columns]:
        """Return the next batch, which is read to find the row at a position."""
        batch = next(self._batches, None)
        if batch is None:
            path = self._source.path
            raise InputError(
                f"{path} has no row {position}; it changed while it was read: run again"
            )
        return batch

    def _read(self) -> Iterator[tuple[int, Columns]]:
        rows = 0
        try:
            for batch in self._batches_of_kept():
                yield batch.num_rows, self._columns(batch)
                rows += batch.num_rows
        except MemoryError:  # which Arrow's is, too: the file may be whole
            raise
        except (OSError, UnicodeError, pa.ArrowException) as error:
            raise InputError(
                f"reading columns to keep of {self._source.path} failed after {rows} rows: {error};"
                " create the file or copy it again, or set dataset.keep_columns to none, or to a"
                " list of columns that can be read"
            ) from error

    def _batches_of_kept(self) -> Iterator[pa.RecordBatch]:
        with closing(open_table(self._source.path, self._source.layout)) as table:
            once = {name for name, count in Counter(table.schema.names).items() if count == 1}
            names = [name for name in self._names if name in once]
            yield from table.batches(names or sorted(once)[:1])  # which has the number of rows

    def _columns(self, rows: pa.RecordBatch) -> Columns:
        found: Columns = {}
        for name in self._names:
            if name in rows.schema.names:
                found[name] = of_array(rows.column(rows.schema.names.index(name)))
            elif name in self._folders:  # unlike a name that several columns have
                found[name] = self._of_folder(name, rows.num_rows)
        return found

    def _of_folder(self, name: str, rows: int) -> Column:
        return Column(pa.array([self._folders[name]] * rows, pa.string()), pa.string())


def join(parts: Sequence[Columns]) -> Columns:
    """Return the columns of consecutive rows of a table together."""
    return {
        name: Column(pa.concat_arrays([part[name].values for part in parts]), column.type)
        for name, column in parts[0].items()
    }


def of_array(array: pa.Array) -> Column:
    """Return an array as a column of a type that Parquet has: without dictionary, run ends, views.

    Bytes that are no text are replaced.
    """
    kind = array.type
    if kinds.is_dictionary(kind):
        return of_array(array.dictionary_decode())
    if kinds.is_run_end_encoded(kind):
        return of_array(pc.run_end_decode(array))
    if kinds.is_string_view(kind) or kinds.is_binary_view(kind):
        return of_array(array.cast(pa.string() if kinds.is_string_view(kind) else pa.binary()))
    if not is_writable(kind):
        return Column(_as_json(array), None)
    return Column(_with_text(array), kind)


def _as_json(array: pa.Array) -> pa.Array:
    return pa.array(map(as_json, python_values(array)), pa.string())


def _with_text(array: pa.Array) -> pa.Array:
    """Return an array in which bytes that are no text are replaced, at any depth."""
    kind = array.type
    if not (kinds.is_nested(kind) or kinds.is_string(kind) or kinds.is_large_string(kind)):
        return array
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        replaced = make_array(python_values(array), kind)
        return array if replaced is None else replaced
    return array
