"""Dividing rows into the files of a data set, in folders named as by Hive (`dt=2026-11-28`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from tasks.store.tables import HIVE_NULL, open_for_arrow

MOST_PARTITIONS = 10_000
MOST_OPEN = 256
"""Files that are written at a time: a process may open 1,024."""

MOST_WAITING = 64 << 20
"""Bytes of rows that wait to be written, so that a file has few row groups."""

FILE = "part-00000.parquet"

# What Hive and Spark escape; other characters, such as Chinese ones, stand in names as they are.
_ESCAPED = re.compile(r"[\x00-\x1f\x7f\"#%'*/:=?\\{}\[\]^]")


def can_divide(kind: pa.DataType) -> bool:
    """Return whether values of a type can be in the name of a folder: text, integers, dates."""
    checks = (kinds.is_string, kinds.is_large_string, kinds.is_integer, kinds.is_boolean)
    return any(check(kind) for check in (*checks, kinds.is_date))


def name_partitions(batch: pa.RecordBatch, columns: Sequence[str]) -> list[str]:
    """Return the folder of each row, such as `dt=2026-11-28/city=北京`; "" without columns.

    Null and empty text are `__HIVE_DEFAULT_PARTITION__`, as of Hive and Spark.
    """
    names = [_name_values(batch[column], column) for column in columns]
    return ["/".join(parts) for parts in zip(*names, strict=True)] or [""] * batch.num_rows


def _name_values(values: pa.Array, column: str) -> list[str]:
    codes = values.dictionary_encode("encode")
    found = codes.dictionary
    if kinds.is_date(found.type):  # Python has no date beyond the year 9999
        found = found.cast(pa.string())
    names = [f"{_escape(column)}={_as_text(value)}" for value in found.to_pylist()]
    return [names[code] for code in codes.indices.to_pylist()]


def _as_text(value: object) -> str:
    if value is None or value == "":
        return HIVE_NULL
    return _escape(str(value).lower() if isinstance(value, bool) else str(value))


def _escape(text: str) -> str:
    return _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", text)


def write_partitions(
    folder: Path,
    schema: pa.Schema,
    read: Callable[[Sequence[str] | None], Iterable[pa.RecordBatch]],
    columns: Sequence[str] = (),
    suffix: str = "",
) -> dict[str, int]:
    """Write rows below a folder, one file for each partition, in order; return the rows of each.

    The files are named by their paths relative to the folder, such as `dt=1/part-00000.parquet`.

    Args:
        folder: an empty folder.
        schema: of the rows.
        read: returns these columns of the rows, None for all, from the first row to the last; it is
            called again for every `MOST_OPEN` partitions.
        columns: the columns that divide the rows; they are in the names of folders, not in files.
        suffix: of the names of the files.

    Raises:
        OSError: they cannot be written.
    """
    batches = read(columns) if columns else ()
    names = sorted({name for batch in batches for name in name_partitions(batch, columns)})
    if not names:  # a data set that is not divided, or has no rows, is a file with its schema
        names, columns = [""], ()
    fields = [field for field in schema if field.name not in columns]
    kept, rows = pa.schema(fields, schema.metadata), dict[str, int]()
    for first in range(0, len(names), MOST_OPEN):
        some = names[first : first + MOST_OPEN]
        files = {name: _File(folder / name / f"{FILE}{suffix}", kept) for name in some}
        with ExitStack() as stack:
            for file in files.values():
                stack.enter_context(file)
            _write(files, read(None), columns)
        rows |= {f"{Path(name, FILE)}{suffix}": file.rows for name, file in files.items()}
    return rows


def _write(
    files: Mapping[str, _File], batches: Iterable[pa.RecordBatch], columns: Sequence[str]
) -> None:
    """Write the rows of these partitions; other rows are left out."""
    for batch in batches:
        for name, rows in _divide(batch, columns, files):
            files[name].add(rows)
        while sum(file.waiting_bytes for file in files.values()) > MOST_WAITING:
            max(files.values(), key=lambda file: file.waiting_bytes).flush()


def _divide(
    batch: pa.RecordBatch, columns: Sequence[str], wanted: Container[str]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield the rows of each partition that is wanted, without the columns in its name."""
    rows, names = batch.drop_columns([*columns]), name_partitions(batch, columns)
    found, codes = np.unique(names, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(found) + 1))
    for number, name in enumerate(found):
        chosen = order[starts[number] : starts[number + 1]]
        if name in wanted:
            is_all = len(chosen) == batch.num_rows
            yield str(name), rows if is_all else rows.take(pa.array(chosen))


class _File:
    """A Parquet file whose rows wait in memory until there are enough of them for a row group."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = self.waiting_bytes = 0
        self._path, self._schema, self._waiting = path, schema, list[pa.RecordBatch]()

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._opened = open_for_arrow(self._path, "wb")
        self._writer = pq.ParquetWriter(
            self._opened, self._schema, compression="zstd", write_page_checksum=True
        )
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.flush()
            self._writer.close()
        finally:
            self._opened.close()

    def add(self, rows: pa.RecordBatch) -> None:
        self._waiting.append(rows.cast(self._schema))
        self.waiting_bytes += rows.nbytes
        self.rows += rows.num_rows

    def flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting, self.waiting_bytes = [], 0
