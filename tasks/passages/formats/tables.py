"""Reading Parquet and Arrow (Feather) files row by row."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as types

from tasks.findings import Finding
from tasks.passages import limits
from tasks.passages.fields import Fields
from tasks.passages.layout import (
    AT_LEAST_ONE,
    KEY,
    Layout,
    NoRows,
    RawRow,
    RawRows,
    find_names_fault,
)
from tasks.passages.limits import row_too_long
from tasks.passages.records import Reason, RowError, is_nothing
from tasks.store.tables import open_for_arrow

_ROWS = 64
_STREAM, _END_OF_STREAM = b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\0\0\0\0"


class _Parquet:
    """An open Parquet file."""

    def __init__(self, path: Path) -> None:
        self._opened = open_for_arrow(path)
        self._file = pq.ParquetFile(self._opened, page_checksum_verification=True)
        self.schema: pa.Schema = self._file.schema_arrow

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield batches of these columns, and check their number of rows."""
        rows, promised = 0, self._file.metadata.num_rows
        for batch in self._file.iter_batches(_ROWS, columns=columns):
            rows += batch.num_rows
            yield batch
        if rows != promised:
            raise pa.ArrowInvalid(f"its footer promises {promised} rows")

    @property
    def has_rows(self) -> bool:
        """Whether the file has rows."""
        return bool(self._file.metadata.num_rows)

    def close(self) -> None:
        """Close the file."""
        self._opened.close()


class _Arrow:
    """A file of Arrow's IPC format (which is Feather, too), or of its stream format."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self._is_stream = file.read(len(_STREAM)) == _STREAM
            file.seek(-len(_END_OF_STREAM), os.SEEK_END)
            if self._is_stream and file.read() != _END_OF_STREAM:
                raise pa.ArrowInvalid("its end is missing")
        with open_for_arrow(path) as opened:
            self.schema: pa.Schema = self._reader(opened).schema

    def _reader(self, opened: pa.OSFile) -> pa.ipc.RecordBatchFileReader:
        return pa.ipc.open_stream(opened) if self._is_stream else pa.ipc.open_file(opened)

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield batches of these columns."""
        with open_for_arrow(self._path) as opened:
            reader = self._reader(opened)
            numbers = () if self._is_stream else range(reader.num_record_batches)
            some = reader if self._is_stream else map(reader.get_batch, numbers)
            for batch in some:
                yield batch.select(columns)

    @property
    def has_rows(self) -> bool:
        """Whether the file has rows."""
        return any(batch.num_rows for batch in self.batches([]))

    def close(self) -> None:
        """Close the file, which is open only while batches are read."""


Table = _Parquet | _Arrow


def open_table(path: Path, layout: Layout) -> Table:
    """Open a Parquet or Arrow file.

    Raises:
        pyarrow.ArrowException: the file is damaged.
        OSError: the file cannot be read.
    """
    return _Parquet(path) if layout.format == ".parquet" else _Arrow(path)


def inspect_table(place: str, path: Path, layout: Layout) -> Layout | Finding:
    """Return the layout with columns and fields, or why the file cannot be read."""
    try:
        with closing(open_table(path, layout)) as table:
            schema, has_rows = table.schema, table.has_rows
    except MemoryError:  # which Arrow's is, too
        raise
    except (OSError, UnicodeError, pa.ArrowException) as error:
        remedy = "it is truncated or damaged: create it or copy it again"
        return Finding(KEY, f"{place} cannot be read: {error}", remedy)
    fields = layout.fields.in_columns(schema.names)
    if fault := _find_column_fault(place, schema, fields, layout.extra):
        return fault
    if not has_rows:
        return NoRows(KEY, f"{place} has no rows", AT_LEAST_ONE)
    return replace(layout, fields=fields, names=(*schema.names, *layout.extra))


def _find_column_fault(
    place: str, schema: pa.Schema, fields: Fields, extra: Collection[str]
) -> Finding | None:
    """Return what is wrong with the columns of a table; `extra` are those of its folders."""
    if fault := find_names_fault(place, "columns", [*schema.names, *extra], fields):
        return fault
    for name in fields.wanted_in(schema.names):
        if schema.names.count(name) > 1:
            problem = f"{place} has the column `{name}` more than once"
            return Finding(KEY, problem, "keep one of them")
    context, answer = fields.pair_in(schema.names)
    for name, can_be in ((context, _can_be_text), (answer, _can_be_answers)):
        if name in schema.names and not can_be(schema.field(name).type):
            problem = f"{place}: the column `{name}` is {schema.field(name).type}, not text"
            return Finding(KEY, problem, "write it as strings, or name another in dataset.fields")
    return None


def _can_be_answers(kind: pa.DataType) -> bool:
    """Return whether a value of a type can be an answer, or several, as of `split_answers`."""
    if types.is_struct(kind):
        at = kind.get_field_index("text")
        return at >= 0 and _can_be_answers(kind.field(at).type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _can_be_answers(kind.value_type)
    return _can_be_text(kind)


def _can_be_text(kind: pa.DataType) -> bool:
    """Return whether some value of a type can be text; any can be of a type that is not known."""
    if types.is_dictionary(kind):
        return _can_be_text(kind.value_type)
    others = (types.is_primitive, types.is_nested, types.is_decimal, types.is_null)
    return not any(is_other(kind) for is_other in others)


def read_table(path: Path, layout: Layout) -> RawRows:
    """Yield the rows of a Parquet or Arrow file, with None as their line.

    Rows of empty values are left out.

    Raises:
        InputError: a row is longer than `MAX_ROW_BYTES`.
        pyarrow.ArrowException: the file is damaged.
        OSError: the file cannot be read.
    """
    with closing(open_table(path, layout)) as table:
        names = table.schema.names
        wanted = layout.fields.wanted_in(names)
        required = layout.fields.required_in(names)
        others = _OtherColumns(table, [name for name in names if name not in wanted])
        for number, row in enumerate(_rows(table, wanted)):
            record = _as_record(row, required)
            size = sum(map(_length, record.values())) if isinstance(record, dict) else 0
            if size > limits.MAX_ROW_BYTES:
                raise row_too_long(f"{path}: row {number}")
            if not (_is_blank(record) and others.are_blank(number)):
                yield RawRow(None, record, position=number)


def _rows(table: Table, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield each row as a batch of one."""
    for batch in table.batches(columns):
        yield from (batch.slice(index, 1) for index in range(batch.num_rows))


class _OtherColumns:
    """The columns that are not read, looked at only where a row is blank in those that are."""

    def __init__(self, table: Table, names: list[str]) -> None:
        self._rows = enumerate(_rows(table, names)) if names else None

    def are_blank(self, number: int) -> bool:
        """Return whether row `number`, beyond that of the last call, is blank in these columns."""
        if self._rows is None:
            return True
        row = next(row for at, row in self._rows if at == number)
        return all(_is_blank_cell(column) for column in row.columns)


def _is_blank_cell(column: pa.Array) -> bool:
    can_be_blank = types.is_floating(column.type) or _can_be_text(column.type)
    return column.null_count == 1 or (can_be_blank and is_nothing(_value(column)))


def _is_blank(record: object) -> bool:
    return isinstance(record, dict) and all(map(is_nothing, record.values()))


def _as_record(row: pa.RecordBatch, required: tuple[str, ...]) -> object:
    """Return the values of a row by column, or its `RowError`."""
    record: dict[str, object] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        value = _value(column)
        if isinstance(value, RowError) and name in required:
            return value
        record[name] = None if isinstance(value, RowError) else value
    return record


def _value(column: pa.Array) -> object:
    """Return the only value of a column, binary text as text, or its `RowError`."""
    try:
        value: object = column[0].as_py()
        return value.decode() if isinstance(value, bytes) else value
    # A string that is not UTF-8; a date or a time zone that Python does not support.
    except (ValueError, OverflowError, LookupError) as error:
        return RowError(Reason.INVALID_TEXT, f"a value cannot be read: {error}")


def _length(value: object) -> int:
    """Return the number of characters in a string, or in all those of a list or a mapping."""
    if isinstance(value, dict):
        return sum(map(_length, value.values()))
    if isinstance(value, list):
        return sum(map(_length, value))
    return len(value) if isinstance(value, str) else 0
