"""Reading Parquet files row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as types

from tasks.findings import Finding
from tasks.passages import limits
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

_PARQUET_ROWS = 64


def inspect_parquet(place: str, path: Path, layout: Layout) -> Layout | Finding:
    """Return the layout with columns and fields, or why the file cannot be read."""
    try:
        with open_for_arrow(path) as opened, pq.ParquetFile(opened) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except MemoryError:  # which Arrow's is, too
        raise
    except (OSError, UnicodeError, pa.ArrowException) as error:
        remedy = "it is truncated or damaged: create it or copy it again"
        return Finding(KEY, f"{place} cannot be read: {error}", remedy)
    fields = layout.fields.in_columns(schema.names)
    if fault := find_names_fault(place, "columns", [*schema.names, *layout.extra], fields):
        return fault
    for name in fields.wanted_in(schema.names):
        if schema.names.count(name) > 1:
            problem = f"{place} has the column `{name}` more than once"
            return Finding(KEY, problem, "keep one of them")
    for name in fields.pair_in(schema.names):
        if name in schema.names and not _can_be_text(schema.field(name).type):
            problem = f"{place}: the column `{name}` is {schema.field(name).type}, not text"
            return Finding(KEY, problem, "write it as strings, or name another in dataset.fields")
    if not rows:
        return NoRows(KEY, f"{place} has no rows", AT_LEAST_ONE)
    return replace(layout, fields=fields, names=(*schema.names, *layout.extra))


def _can_be_text(kind: pa.DataType) -> bool:
    """Return whether some value of a type can be text; any can be of a type that is not known."""
    if types.is_dictionary(kind):
        return _can_be_text(kind.value_type)
    others = (types.is_primitive, types.is_nested, types.is_decimal, types.is_null)
    return not any(is_other(kind) for is_other in others)


def read_parquet(path: Path, layout: Layout) -> RawRows:
    """Yield the rows of a Parquet file, with None as their line.

    Rows of empty values are left out.

    Raises:
        InputError: a row is longer than `MAX_ROW_BYTES`.
        pyarrow.ArrowException: the file is damaged.
        OSError: the file cannot be read.
    """
    with (
        open_for_arrow(path) as opened,
        pq.ParquetFile(opened, page_checksum_verification=True) as file,
    ):
        names = file.schema_arrow.names
        wanted = layout.fields.wanted_in(names)
        required = layout.fields.required_in(names)
        others = _OtherColumns(file, [name for name in names if name not in wanted])
        number = -1
        for number, row in enumerate(_rows(file, wanted)):
            record = _as_record(row, required)
            size = sum(map(_length, record.values())) if isinstance(record, dict) else 0
            if size > limits.MAX_ROW_BYTES:
                raise row_too_long(f"{path}: row {number}")
            if not (_is_blank(record) and others.are_blank(number)):
                yield RawRow(None, record)
        if number + 1 != file.metadata.num_rows:
            raise pa.ArrowInvalid(f"its footer promises {file.metadata.num_rows} rows")


def _rows(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield each row as a batch of one."""
    for batch in file.iter_batches(_PARQUET_ROWS, columns=columns):
        yield from (batch.slice(index, 1) for index in range(batch.num_rows))


class _OtherColumns:
    """The columns that are not read, looked at only where a row is blank in those that are."""

    def __init__(self, file: pq.ParquetFile, names: list[str]) -> None:
        self._rows = enumerate(_rows(file, names)) if names else None

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
    """Return the number of characters in a string or a list of strings."""
    if isinstance(value, list):
        return sum(map(_length, value))
    return len(value) if isinstance(value, str) else 0
