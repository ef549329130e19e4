"""Reading passages from JSON and CSV, optionally compressed, and from Parquet and Arrow.

A record with several answers has a row for each of them. A bad row becomes a `Reject` and reading
continues; damage that makes the rest of the file unreadable is an `InputError`. One row (of tables,
one batch) is in memory at a time. No row may be longer than `MAX_ROW_BYTES` after decompression, so
that a small compressed file cannot fill the memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from tasks.config.settings import FieldSettings
from tasks.errors import InputError
from tasks.findings import Finding
from tasks.passages.finding.file import Given, InputFile, show_given
from tasks.passages.formats.csv import read_csv
from tasks.passages.formats.json import read_json
from tasks.passages.formats.tables import read_table
from tasks.passages.formats.workbooks import read_workbook
from tasks.passages.input import Input, ReadableFile
from tasks.passages.layout import KEY, Layout, RawRow, RawRows
from tasks.passages.records import Passage, Reject, parse_record, split_answers

Note = Callable[[Path, Layout, RawRow], None]


def read_passages(
    given: Given,
    template: int,
    encoding: str | None = None,
    fields: FieldSettings | None = None,
    format_: str | None = None,
    delimiter: str | None = None,
    note: Note | None = None,
) -> Iterator[Passage | Reject]:
    """Yield a `Passage` or a `Reject` for every row of the files, in order.

    Blank lines, and rows in which every value is empty, are no rows.

    Args:
        given: a file, a list of files, or those of a folder or a pattern: JSON lines, a JSON array,
            nested JSON as of SQuAD, or CSV with a header row, each optionally compressed with gzip
            or Zstandard; Parquet or Arrow; an Excel workbook.
        template: `dataset.template`; 4 requires `prompt_common` and `prompt_domain`.
        encoding: `dataset.encoding`; None: UTF-8.
        fields: `dataset.fields`; None: by their names.
        format_: `dataset.format`; None: that of the content, or else of the name.
        delimiter: `dataset.delimiter`; None: the one that fits the header of CSV.
        note: called for each row, before it is yielded, with its file, how that is read, and the
            record that the row is from.

    Raises:
        InputError: a file is missing, has another format, encoding or columns, or the rest of it
            cannot be read; no file has rows.
        ObjectStoreError: an object store does not answer.
        MemoryError: there is too little memory to read it.
    """
    found = Input.find(given, template, encoding, fields, format_, delimiter)
    if isinstance(found, Finding):
        raise InputError(str(found))
    outcome = None
    for outcome in read_files(found.readable, note=note):
        yield outcome
    if outcome is None:
        raise no_rows(given)


def read_files(
    files: Iterable[ReadableFile], first: int = 0, note: Note | None = None
) -> Iterator[Passage | Reject]:
    """Yield the rows of files, of which the first has the number `first`; see `read_passages`."""
    row = first
    for file, layout in files:
        for raw in _read_file(file, layout):
            for outcome in _parse(raw, row, file, layout):
                if note is not None:
                    note(file.path, layout, raw)
                yield outcome
                row += 1


def count_rows(files: Iterable[ReadableFile], note: Note | None = None) -> int:
    """Return how many rows `read_files` yields, in less than half of its time; raises as that."""
    rows = 0
    for file, layout in files:
        for raw in _read_file(file, layout):
            for _ in _split(raw, layout):
                if note is not None:
                    note(file.path, layout, raw)
                rows += 1
    return rows


def no_rows(given: Given) -> InputError:
    """Return the error of files that have no rows."""
    return InputError(f"{show_given(given)} has no rows; `{KEY}` needs at least one")


def _read_file(file: InputFile, layout: Layout) -> RawRows:
    """Yield the rows of a file.

    Raises:
        InputError: the rest of it cannot be read.
    """
    rows = 0
    try:
        for raw in _READERS[layout.format](file.path, layout):
            rows += 1
            yield raw
    except InputError as error:
        if file.address is None:
            raise
        raise InputError(f"{file.address}: {error}") from error  # it names the copy
    except MemoryError:  # which Arrow's is, too: the file may be whole
        raise
    except (OSError, EOFError, UnicodeError, zlib.error, pa.ArrowException) as error:
        raise InputError(
            f"reading {file.place} failed after {rows} rows: {error}; the file is truncated, "
            "damaged or not readable by this user: create it or copy it again"
        ) from error


def _parse(raw: RawRow, row: int, file: InputFile, layout: Layout) -> Iterator[Passage | Reject]:
    """Yield the rows of a record, one for each answer; the first one has the number `row`."""
    for number, one in enumerate(_split(raw, layout), row):
        outcome = parse_record(one, number, raw.line, layout.fields, raw.last_line)
        yield outcome if file.name is None else replace(outcome, file=file.name)


def _split(raw: RawRow, layout: Layout) -> list[object]:
    """Return a record of a row for each answer."""
    record = raw.record
    if layout.extra and isinstance(record, dict):
        record = {**layout.extra, **record}
    return split_answers(record, layout.fields)


_READERS: dict[str, Callable[[Path, Layout], RawRows]] = {
    ".jsonl": read_json,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_table,
    ".arrow": read_table,
    ".xlsx": read_workbook,
}
