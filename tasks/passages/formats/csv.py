"""Reading CSV files with a header row by row."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import StringIO, TextIOWrapper
from itertools import islice
from pathlib import Path

from tasks.errors import InputError
from tasks.findings import Finding
from tasks.passages import limits
from tasks.passages.fields import Fields
from tasks.passages.formats.json import parse_json
from tasks.passages.layout import (
    DELIMITER,
    Layout,
    PassageFile,
    RawRow,
    RawRows,
    Start,
    find_names_fault,
    name_delimiter,
    open_passages,
)
from tasks.passages.limits import check_size
from tasks.passages.records import Reason, RowError, excerpt

DELIMITERS = (",", "\t", ";", "|")
_SEPARATOR = re.compile(r"[^\w\s]")  # what may separate the cells of one column's name


def has_header(text: str, layout: Layout) -> bool:
    """Return whether a text begins with a header that has the required columns."""
    csv.field_size_limit(limits.MAX_ROW_BYTES)  # process-wide; the default is 128 KiB
    asked = layout.asked_delimiter
    try:
        columns = _best_header(text, layout.fields)[1] if asked is None else _header(text, asked)
        return _is_complete(columns, layout.fields)
    except csv.Error:  # of another format, without delimiters
        return False


def inspect_csv(start: Start, layout: Layout) -> Layout | Finding:
    """Return the layout with delimiter, columns and fields, or why the file cannot be read."""
    found, columns = _best_header(start.text, layout.fields)
    delimiter = layout.asked_delimiter or found
    if delimiter != found:
        columns = _header(start.text, delimiter)
    fields = layout.fields.in_columns(columns)
    if fault := find_names_fault(start.place, "columns", [*columns, *layout.extra], fields):
        return _explain_delimiter(start, layout, found) or fault
    if repeated := [name for name in fields.wanted_in(columns) if columns.count(name) > 1]:
        return start.fault(f"has the column `{repeated[0]}` more than once", "keep one of them")
    if start.is_whole and len(list(islice(_parse(start.text, delimiter), 2))) < 2:
        return start.no_rows()
    return replace(
        layout,
        fields=fields,
        names=(*columns, *layout.extra),
        delimiter=delimiter,
        is_delimiter_given=delimiter != found,
    )


def _explain_delimiter(start: Start, layout: Layout, found: str) -> Finding | None:
    """Return why columns are missing, if that is for the delimiter; `found` fits best."""
    asked, columns = layout.asked_delimiter, _header(start.text, found)
    if asked not in {None, found} and _is_complete(columns, layout.fields):
        names = [name_delimiter(one) for one in (found, str(asked))]
        problem = f"the cells of {start.place} are separated by {names[0]}, not {names[1]}"
        return Finding(DELIMITER, problem, "leave it out")
    if asked is None and len(columns) == 1 and _SEPARATOR.search(columns[0]):
        *known, last = map(name_delimiter, DELIMITERS)
        separators = f"{', '.join(known)} or {last} separate it"
        problem = f"has only one column, {excerpt(columns[0])}, whether {separators}"
        return start.fault(problem, f"if another character does, name it with {DELIMITER}")
    return None


def _header(text: str, delimiter: str) -> list[str]:
    return next(_parse(text, delimiter), [])


def _best_header(text: str, fields: Fields) -> tuple[str, list[str]]:
    """Return the delimiter whose header has the required columns, or the most; and the columns."""
    headers = {one: _header(text, one) for one in DELIMITERS}
    best = max(headers, key=lambda one: (_is_complete(headers[one], fields), len(headers[one])))
    return best, headers[best]


def _is_complete(columns: Sequence[str], fields: Fields) -> bool:
    actual = fields.in_columns(columns)
    return set(actual.pair_in(columns)) <= set(columns)


def _parse(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows of a text that are not blank, as far as its quotes allow."""
    rows = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    return (cells for cells in rows if not _is_blank(cells))


class _Lines:
    """The lines of a CSV file, for the parser.

    It limits the size of a row, which the parser does not, and can give lines again. Bytes that are
    not UTF-8 become lone surrogates, so that a bad byte costs one row.
    """

    def __init__(self, path: Path, file: PassageFile) -> None:
        self._path = path
        self._text = TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        self._again: list[str] = []  # the next line is the last
        self._size = 0
        self.taken: list[str] = []  # the lines of the current row
        self.first = 1  # the number of the first of them

    @property
    def last(self) -> int | None:
        """The number of the current row's last line, if it has several."""
        return self.first + len(self.taken) - 1 if len(self.taken) > 1 else None

    def start_row(self) -> None:
        """Start a row."""
        self.first += len(self.taken)
        self.taken, self._size = [], 0

    def give_again(self) -> None:
        """End the current row after its first line, and give its other lines again."""
        self._again += self.taken[:0:-1]
        del self.taken[1:]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else self._text.readline(limits.MAX_ROW_BYTES + 1)
        if not line:
            raise StopIteration
        self.taken.append(line)
        self._size += len(line)
        check_size(self._path, self.first, self._size, " and close its quotes")
        return line


def read_csv(path: Path, layout: Layout) -> RawRows:
    """Yield the rows of a CSV file with a header, optionally compressed.

    Rows of empty cells are left out, as blank lines are.

    Raises:
        InputError: a quote is never closed, or a row is longer than `MAX_ROW_BYTES`.
        OSError, EOFError, zlib.error: the file cannot be read or decompressed.
    """
    csv.field_size_limit(limits.MAX_ROW_BYTES)  # process-wide; the default is 128 KiB
    with open_passages(path, layout) as file:
        lines = _Lines(path, file)
        header: list[str] = []
        for header in csv.reader(lines, delimiter=layout.delimiter):
            if not _is_blank(header):
                break
            lines.start_row()
        rows = csv.reader(lines, delimiter=layout.delimiter, strict=True)
        while (cells := _next_cells(path, rows, lines, layout.delimiter, len(header))) is not None:
            if cells == header:  # of another file that was appended
                cells = RowError(Reason.NOT_CSV, f"the row repeats the header: {excerpt(header)}")
            if isinstance(cells, RowError) or not _is_blank(cells):
                record = _as_record(header, cells, layout.fields)
                yield RawRow(lines.first, record, lines.last)


def _next_cells(
    path: Path, rows: Iterator[list[str]], lines: _Lines, delimiter: str, width: int
) -> list[str] | RowError | None:
    """Return the cells of the next row, its `RowError`, or None at the end.

    A quote that is not closed takes the next lines into its row. If the row has a fault, and these
    lines are rows of `width` cells by themselves, only the first line is rejected.
    """
    lines.start_row()
    error: csv.Error | None = None
    cells: list[str] | None = []
    try:
        cells = next(rows, None)
    except csv.Error as raised:
        error = raised
    if cells is None or (error is None and (len(cells) == width or _is_blank(cells))):
        return cells
    is_open = _is_open(error)
    if _are_rows(lines.taken, delimiter, width, is_open):
        lines.give_again()
        return RowError(Reason.NOT_CSV, f"a quote is not closed: {excerpt(lines.taken[0])}")
    if is_open:
        raise InputError(
            f"{path}: the row that starts on line {lines.first} has no end ({error}); repair its"
            " quotes"
        ) from error
    if error is not None:
        return RowError(Reason.NOT_CSV, f"the row is not CSV: {error}")
    detail = f"the row has {len(cells)} cells, the header {width}: {excerpt(cells)}"
    return RowError(Reason.NOT_CSV, detail)


def _are_rows(lines: Sequence[str], delimiter: str, width: int, is_at_end: bool) -> bool:
    """Return whether the lines of a faulty row are rows by themselves, but for a stray quote.

    Nine of ten must be. A single line is one only at the end of the file, if what follows the quote
    holds the other cells; otherwise the file may be truncated.
    """
    first, *others = [line for line in lines if line.strip()]
    if _count_literally(first, delimiter) != width:
        return False
    if not others:
        return is_at_end and len(next(csv.reader([first], delimiter=delimiter))) < width
    wrong = sum(1 for line in others if _count_cells(line, delimiter) not in {width, None})
    return 10 * wrong <= len(others)


def _is_open(error: csv.Error | None) -> bool:
    """Return whether the file ended while a quote was open."""
    return str(error).startswith("unexpected end of data")


def _count_cells(line: str, delimiter: str) -> int | None:
    """Return the number of cells of a line; None if a quote is open at its end."""
    try:
        return len(next(csv.reader([line], delimiter=delimiter, strict=True)))
    except csv.Error as error:
        return None if _is_open(error) else _count_literally(line, delimiter)


def _count_literally(line: str, delimiter: str) -> int:
    """Return the number of cells of a line if quotes mean nothing."""
    return len(next(csv.reader([line], delimiter=delimiter, quoting=csv.QUOTE_NONE)))


def _as_record(header: list[str], cells: list[str] | RowError, fields: Fields) -> object:
    if isinstance(cells, RowError):
        return cells
    return with_lists(dict(zip(header, cells, strict=True)), fields)


def with_lists(record: dict[str, object], fields: Fields) -> dict[str, object]:
    """Return a record of cells with the list that template 4 needs, which a cell holds as JSON.

    `parse_record` rejects anything else by its type.
    """
    for name in fields.prompts[1:]:
        cell = record.get(name)
        if isinstance(cell, str):
            parsed = parse_json(cell.encode(errors="surrogateescape"))
            record[name] = cell if isinstance(parsed, RowError) else parsed
    return record


def _is_blank(cells: Sequence[str]) -> bool:
    return not "".join(cells).strip()
