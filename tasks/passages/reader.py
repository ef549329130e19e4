"""Files of passages, read row by row: JSON lines, JSON arrays and CSV, also in gzip, and Parquet.

A fault of one row is a `Reject` and reading goes on; a fault that makes the rest of the file
unreadable is an `InputError`. One row (of Parquet: one batch) is in memory at a time, and no row
may be longer than `MAX_ROW_BYTES`, however small the gzip is that it comes out of.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from tasks.errors import InputError
from tasks.passages.csv import read_csv
from tasks.passages.formats import RawRows, find_file_fault, kind_of
from tasks.passages.json import read_json
from tasks.passages.parquet import read_parquet
from tasks.passages.records import Passage, Reject, parse_record


def read_passages(path: Path, template: int) -> Iterator[Passage | Reject]:
    """Read a file of passages lazily: one `Passage` or `Reject` for every row, in order.

    Args:
        path: `.jsonl` (JSON lines), `.json` (an array or JSON lines), `.csv` (with a header row),
            each of them also in gzip with `.gz` behind, or `.parquet`.
        template: Template of the run; 4 needs `prompt_common` and `prompt_domain`.

    Raises:
        InputError: the file is not there, is of another kind, has no row, or cannot be read on.
    """
    if fault := find_file_fault(path):
        raise InputError(str(fault))
    read = _READERS[kind_of(path).removesuffix(".gz")]
    row = -1
    try:
        for row, (line, record) in enumerate(read(path)):
            yield parse_record(record, row, line, template)
    except (OSError, EOFError, UnicodeError, zlib.error, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read on after {row + 1} rows: {error}; the file is cut short,"
            " damaged or closed to this user: make it or copy it again"
        ) from error
    if row < 0:
        raise InputError(f"{path} has no rows; give at least one in `dataset.predict_file`")


_READERS: dict[str, Callable[[Path], RawRows]] = {
    ".jsonl": read_json,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
