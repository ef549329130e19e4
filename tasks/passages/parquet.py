"""Reading Parquet files row by row."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.passages import limits
from tasks.passages.formats import COLUMNS, RawRows, check_columns
from tasks.passages.limits import row_too_long
from tasks.passages.records import Reason, RowError

_PARQUET_ROWS = 64


def read_parquet(path: Path) -> RawRows:
    """Yield the rows of a Parquet file, with None as their line.

    Raises:
        InputError: columns are missing or repeated, or a row is longer than `MAX_ROW_BYTES`.
        pyarrow.ArrowException: the file is damaged.
        OSError: the file cannot be read.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        check_columns(path, names)
        wanted = [name for name in COLUMNS if name in names]
        batches = file.iter_batches(_PARQUET_ROWS, columns=wanted)
        rows = (batch.slice(index, 1) for batch in batches for index in range(batch.num_rows))
        number = -1
        for number, row in enumerate(rows):
            record = _parquet_record(row)
            size = sum(map(_length, record.values())) if isinstance(record, dict) else 0
            if size > limits.MAX_ROW_BYTES:
                raise row_too_long(f"{path}: row {number}")
            yield None, record
        if number + 1 != file.metadata.num_rows:
            raise pa.ArrowInvalid(f"its footer promises {file.metadata.num_rows} rows")


def _parquet_record(row: pa.RecordBatch) -> object:
    try:
        return row.to_pylist()[0]
    # A string that is not UTF-8; a date or a time zone that Python does not support.
    except (ValueError, OverflowError, LookupError) as error:
        return RowError(Reason.INVALID_TEXT, f"a value cannot be read: {error}")


def _length(value: object) -> int:
    """Return the number of characters in a string or a list of strings."""
    if isinstance(value, list):
        return sum(map(_length, value))
    return len(value) if isinstance(value, str) else 0
