"""Reading passages from JSON lines, JSON arrays and CSV, optionally with gzip, and Parquet.

A bad row becomes a `Reject` and reading continues; damage that makes the rest of the file
unreadable is an `InputError`. One row (for Parquet, one batch) is in memory at a time. No row may
be longer than `MAX_ROW_BYTES` after decompression, so that a small gzip file cannot fill the
memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from tasks.config.settings import FieldSettings
from tasks.errors import InputError
from tasks.findings import Finding
from tasks.passages.formats.csv import read_csv
from tasks.passages.formats.json import read_json
from tasks.passages.formats.parquet import read_parquet
from tasks.passages.inspection import find_layout
from tasks.passages.layout import Layout, RawRows
from tasks.passages.records import Passage, Reject, parse_record


def read_passages(
    path: Path, template: int, encoding: str | None = None, fields: FieldSettings | None = None
) -> Iterator[Passage | Reject]:
    """Yield a `Passage` or a `Reject` for every row of a file, in order.

    Blank lines, and rows in which every value is empty, are no rows.

    Args:
        path: `.jsonl` (JSON lines), `.json` (an array or JSON lines) or `.csv` (with a header
            row), each optionally with gzip and `.gz` in the name, or `.parquet`.
        template: `dataset.template`; 4 requires `prompt_common` and `prompt_domain`.
        encoding: `dataset.encoding`; None: UTF-8.
        fields: `dataset.fields`; None: by their names.

    Raises:
        InputError: the file is missing, has another format, encoding or columns, or no rows, or the
            rest of it cannot be read.
        MemoryError: there is too little memory to read it.
    """
    layout = find_layout(path, template, encoding, fields)
    if isinstance(layout, Finding):
        raise InputError(str(layout))
    row = -1
    try:
        for row, raw in enumerate(_READERS[layout.format](path, layout)):
            yield parse_record(raw.record, row, raw.line, layout.fields, raw.last_line)
    except MemoryError:  # which Arrow's is, too: the file may be whole
        raise
    except (OSError, EOFError, UnicodeError, zlib.error, pa.ArrowException) as error:
        raise InputError(
            f"reading {path} failed after {row + 1} rows: {error}; the file is truncated, damaged"
            " or not readable by this user: create it or copy it again"
        ) from error
    if row < 0:
        raise InputError(f"{path} has no rows; `dataset.predict_file` needs at least one")


_READERS: dict[str, Callable[[Path, Layout], RawRows]] = {
    ".jsonl": read_json,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
