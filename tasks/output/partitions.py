"""Dividing rows into the files of a data set, in folders named as by Hive (`dt=2026-11-28`)."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from tasks.store.tables import open_for_arrow

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
MOST_PARTITIONS = 10_000
MOST_OPEN = 64
"""Files that are written at a time: each takes memory."""

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
    names = [f"{_escape(column)}={_as_text(value)}" for value in codes.dictionary.to_pylist()]
    return [names[code] for code in codes.indices.to_pylist()]


def _as_text(value: object) -> str:
    if value is None or value == "":
        return HIVE_NULL
    return _escape(str(value).lower() if isinstance(value, bool) else str(value))


def _escape(text: str) -> str:
    return _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", text)


class PartitionWriter:
    """A context manager that writes rows below a folder, in order within each partition.

    Args:
        folder: an empty folder.
        schema: of the rows.
        columns: the columns that divide them; they are in the names of folders, not in the files.
    """

    def __init__(self, folder: Path, schema: pa.Schema, columns: Sequence[str] = ()) -> None:
        self.rows: Counter[str] = Counter()  # by the path of each file, relative to the folder
        self._folder, self._columns = folder, columns
        fields = [field for field in schema if field.name not in columns]
        self._schema = pa.schema(fields, schema.metadata)
        self._parts: Counter[str] = Counter()
        self._open: OrderedDict[str, tuple[str, pq.ParquetWriter, pa.OSFile]] = OrderedDict()

    def __enter__(self) -> Self:
        if not self._columns:  # a data set without rows has its schema
            self._find("")
        return self

    def __exit__(self, *_error: object) -> None:
        while self._open:
            self._close_oldest()

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows."""
        names = name_partitions(batch, self._columns)
        rows = batch.select(self._schema.names)
        if len(set(names)) == 1:
            self._write(names[0], rows)
            return
        found, codes = np.unique(names, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(len(found) + 1))
        for number, name in enumerate(found):
            chosen = order[starts[number] : starts[number + 1]]
            self._write(str(name), rows.take(pa.array(chosen)))

    def _write(self, partition: str, rows: pa.RecordBatch) -> None:
        file, writer = self._find(partition)
        writer.write_batch(rows.cast(self._schema))
        self.rows[file] += rows.num_rows

    def _find(self, partition: str) -> tuple[str, pq.ParquetWriter]:
        if partition not in self._open:
            if len(self._open) >= MOST_OPEN:
                self._close_oldest()
            folder = self._folder / partition
            folder.mkdir(parents=True, exist_ok=True)
            name = f"part-{self._parts[partition]:05d}.parquet"
            self._parts[partition] += 1
            opened = open_for_arrow(folder / name, "wb")
            writer = pq.ParquetWriter(
                opened, self._schema, compression="zstd", write_page_checksum=True
            )
            file = f"{partition}/{name}" if partition else name
            self.rows[file] = 0
            self._open[partition] = file, writer, opened
        self._open.move_to_end(partition)
        file, writer, _ = self._open[partition]
        return file, writer

    def _close_oldest(self) -> None:
        _, (_, writer, opened) = self._open.popitem(last=False)
        try:
            writer.close()
        finally:
            opened.close()
