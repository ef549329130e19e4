"""Reading CSV files with a header row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from tasks.errors import InputError
from tasks.passages import limits
from tasks.passages.formats import PassageFile, RawRows, check_columns, open_passages
from tasks.passages.json import parse_json, skip_byte_order_mark
from tasks.passages.limits import check_size
from tasks.passages.records import Reason, RowError, excerpt


class _CsvLines:
    """The lines of a CSV file, for the parser; limits the size of a row, which the parser does not.

    Bytes that are not UTF-8 become lone surrogates, so that a bad byte costs one row.
    """

    def __init__(self, path: Path, file: PassageFile) -> None:
        self._path = path
        self._text = TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        self._lines = self._start = self._size = 0

    def start_row(self) -> int:
        """Start counting the size of a row; return the number of its first line, from 1."""
        self._start, self._size = self._lines + 1, 0
        return self._start

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(limits.MAX_ROW_BYTES + 1)
        if not line:
            raise StopIteration
        self._lines += 1
        self._size += len(line)
        check_size(self._path, self._start, self._size, " and close its quotes")
        return line


def read_csv(path: Path) -> RawRows:
    """Yield the rows of a CSV file with a header, optionally compressed with gzip.

    Raises:
        InputError: columns are missing or repeated, a quote is never closed, a row is longer than
            `MAX_ROW_BYTES`, or the file is UTF-16.
        OSError, EOFError, zlib.error: the file cannot be read or decompressed.
    """
    csv.field_size_limit(limits.MAX_ROW_BYTES)  # process-wide; the default is 128 KiB
    with open_passages(path) as file:
        skip_byte_order_mark(path, file)
        lines = _CsvLines(path, file)
        rows = csv.reader(lines, strict=True)
        header: list[str] = []
        while (line := lines.start_row()) and (cells := _next_cells(path, line, rows)) is not None:
            if isinstance(cells, list) and len(cells) < 2 and not "".join(cells).strip():
                continue
            if header:
                yield line, _csv_record(header, cells)
            else:
                header = cells if isinstance(cells, list) else [str(cells)]
                check_columns(path, header)


def _next_cells(path: Path, line: int, rows: Iterator[list[str]]) -> list[str] | RowError | None:
    """Return the cells of the next row, its `RowError`, or None at the end."""
    try:
        return next(rows, None)
    except csv.Error as error:
        if str(error).startswith("unexpected end of data"):
            raise InputError(
                f"{path}: the row that starts on line {line} has no end ({error}); repair its"
                " quotes"
            ) from error
        return RowError(Reason.NOT_CSV, f"the row is not CSV: {error}")


def _csv_record(header: list[str], cells: list[str] | RowError) -> object:
    if isinstance(cells, RowError):
        return cells
    if len(cells) != len(header):
        detail = f"the row has {len(cells)} cells, the header {len(header)}: {excerpt(cells)}"
        return RowError(Reason.NOT_CSV, detail)
    record: dict[str, object] = dict(zip(header, cells, strict=True))
    if (domains := record.get("prompt_domain")) is not None:
        # A cell can only hold a list as JSON; `parse_record` rejects anything else by its type.
        parsed = parse_json(str(domains).encode(errors="surrogateescape"))
        record["prompt_domain"] = domains if isinstance(parsed, RowError) else parsed
    return record
