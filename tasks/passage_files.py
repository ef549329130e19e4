"""Files of passages, read row by row: JSON lines, JSON arrays and CSV, also in gzip, and Parquet.

A fault of one row is a `Reject` and reading goes on; a fault that makes the rest of the file
unreadable is an `InputError`. One row (of Parquet: one batch) is in memory at a time, and no row
may be longer than `MAX_ROW_BYTES`, however small the gzip is that it comes out of.
"""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import InputError
from tasks.passage_kinds import PassageFile, find_fault, kind_of, open_passages
from tasks.passages import NAMES, Passage, Reason, Reject, RowError, excerpt, parse_record

MAX_ROW_BYTES = 16 << 20  # with template 4 tokenising takes up to 110 times as much memory
_PIECE_BYTES = 1 << 16
_PARQUET_ROWS = 64
_COLUMNS = ("id", *NAMES[0], *NAMES[1], "target", "question", "prompt_common", "prompt_domain")
_MARKS = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)
_Rows = Iterator[tuple[int | None, object]]  # line, and a record or the `RowError` of its format


def read_passages(path: Path, template: int) -> Iterator[Passage | Reject]:
    """Read a file of passages lazily: one `Passage` or `Reject` for every row, in order.

    Args:
        path: `.jsonl` (JSON lines), `.json` (an array or JSON lines), `.csv` (with a header row),
            each of them also in gzip with `.gz` behind, or `.parquet`.
        template: Template of the run; 4 needs `prompt_common` and `prompt_domain`.

    Raises:
        InputError: the file is not there, is of another kind, has no row, or cannot be read on.
    """
    if fault := find_fault(path):
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


def _read_json(path: Path) -> _Rows:
    with open_passages(path) as file:
        _skip_byte_order_mark(path, file)
        is_array = ".jsonl" not in kind_of(path) and _first_byte(file) == b"["
        for line, data in _array_elements(path, file) if is_array else _lines(path, file):
            yield line, _parse_json(data)


def _parse_json(data: bytes) -> object:
    """Give what the bytes of one row say, or the fault of the row."""
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        around = excerpt(data[max(0, error.start - 20) : error.end + 20])
        return RowError(Reason.INVALID_TEXT, f"byte {error.start} is not UTF-8: {around}")
    except RecursionError:
        return RowError(Reason.NOT_JSON, f"it is nested too deeply: {excerpt(data.decode())}")
    except ValueError as error:  # bad JSON, or an integer of too many digits
        return RowError(Reason.NOT_JSON, f"it is not JSON ({error}): {excerpt(data.decode())}")


def _skip_byte_order_mark(path: Path, file: PassageFile) -> None:
    start = file.read(3)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16; save it as UTF-8")
    file.seek(3 if start == b"\xef\xbb\xbf" else 0)


def _first_byte(file: PassageFile) -> bytes:
    """Give the first byte that is no white space, and go back to where the file was."""
    start, found = file.tell(), b""
    while not found and (piece := file.read(_PIECE_BYTES)):
        found = piece.lstrip()[:1]
    file.seek(start)
    return found


def _lines(path: Path, file: PassageFile) -> Iterator[tuple[int, bytes]]:
    """Give the lines that are not blank, numbered from 1."""
    line = 0
    while data := file.readline(MAX_ROW_BYTES + 1):
        line += 1
        _check_size(path, line, len(data))
        if data.decode(errors="replace").strip():  # text knows more kinds of space than bytes
            yield line, data


def _array_elements(path: Path, file: PassageFile) -> Iterator[tuple[int, bytes]]:
    """Cut a JSON array into the bytes of its elements, with the line on which each starts.

    Whether an element is JSON is seen when it is parsed, so that a bad one costs one row. An event
    parser cannot give that: with ijson 3.6 a lone surrogate becomes "?", an integer of 5,000
    digits ends the process, and one bad byte makes the rest unreadable.
    """
    cuts = _cut_at_marks(file)
    line, depth, rows = 1, 1, 0
    for data, mark in cuts:
        line += data.count(b"\n")
        if mark:  # the bracket that opens the array
            break
    element = bytearray()
    for data, mark in cuts:
        element += data
        _check_size(path, line, len(element))
        if depth > 1 or mark not in (b",", b"]"):
            depth = max(1, depth + _DEPTH[mark])
            continue
        del element[-1]
        start = _first_line(line, element)
        if element.strip():
            yield start, bytes(element)
        elif rows or mark == b",":
            raise InputError(f"{path}, line {start}: a comma without a row; repair the array")
        if mark == b"]":
            return _check_nothing_follows(path, start, cuts)
        line += element.count(b"\n")
        rows += 1
        element.clear()
    line = _first_line(line, element)
    raise InputError(f"{path}: the row that starts on line {line} has no end; repair the array")


_DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1, b",": 0, b"": 0}


def _cut_at_marks(file: PassageFile) -> Iterator[tuple[bytes, bytes]]:
    """Cut a file after every bracket and comma outside strings; the mark is empty elsewhere."""
    in_string, waiting = False, b""
    while piece := file.read(_PIECE_BYTES):
        piece = waiting + piece
        backslashes = len(piece) - len(piece.rstrip(b"\\"))
        waiting = b"\\" * (backslashes % 2)  # it escapes a character that is not read yet
        start, end = 0, len(piece) - len(waiting)
        for mark in _MARKS.finditer(piece, 0, end):
            if mark[0] == b'"':
                in_string = not in_string
            elif not in_string and len(mark[0]) == 1:
                yield piece[start : mark.end()], mark[0]
                start = mark.end()
        yield piece[start:end], b""
    yield waiting, b""


def _first_line(line: int, element: bytearray) -> int:
    """Give the line of the first byte that is no white space."""
    return line + element[: -len(element.lstrip()) or None].count(b"\n")


def _check_nothing_follows(path: Path, line: int, cuts: Iterator[tuple[bytes, bytes]]) -> None:
    if any(data.strip() for data, _ in cuts):
        raise InputError(f"{path} goes on after the array that ends near line {line}; repair it")


def _check_size(path: Path, line: int, size: int, hint: str = "") -> None:
    if size > MAX_ROW_BYTES:
        raise _too_long(f"{path}: the row that starts on line {line}", hint)


def _too_long(row: str, hint: str = "") -> InputError:
    limit = f"{MAX_ROW_BYTES >> 20} MiB"
    return InputError(f"{row} is longer than {limit}; put one passage in a row{hint}")


class _CsvLines:
    """The lines of a CSV file for its parser, which by itself takes lines and rows of any size."""

    def __init__(self, path: Path, file: PassageFile) -> None:
        self._path = path
        self._text = TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        self._lines = self._start = self._size = 0

    def start_row(self) -> int:
        """Begin to count the size of a row, and give the line on which it starts."""
        self._start, self._size = self._lines + 1, 0
        return self._start

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_ROW_BYTES + 1)
        if not line:
            raise StopIteration
        self._lines += 1
        self._size += len(line)
        _check_size(self._path, self._start, self._size, " and close its quotes")
        return line


def _read_csv(path: Path) -> _Rows:
    csv.field_size_limit(MAX_ROW_BYTES)  # of the process; the standard 128 KiB is too little
    with open_passages(path) as file:
        _skip_byte_order_mark(path, file)
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
                _check_columns(path, header)


def _next_cells(path: Path, line: int, rows: Iterator[list[str]]) -> list[str] | RowError | None:
    """Give the next row, the fault that makes it none, or None at the end."""
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
        # a list, which a cell can only hold as JSON; anything else is found to be of a wrong type
        parsed = _parse_json(str(domains).encode(errors="surrogateescape"))
        record["prompt_domain"] = domains if isinstance(parsed, RowError) else parsed
    return record


def _read_parquet(path: Path) -> _Rows:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        _check_columns(path, names)
        wanted = [name for name in _COLUMNS if name in names]
        batches = file.iter_batches(_PARQUET_ROWS, columns=wanted)
        rows = (batch.slice(index, 1) for batch in batches for index in range(batch.num_rows))
        number = -1
        for number, row in enumerate(rows):
            record = _parquet_record(row)
            if isinstance(record, dict) and sum(map(_length, record.values())) > MAX_ROW_BYTES:
                raise _too_long(f"{path}: row {number}")
            yield None, record
        if number + 1 != file.metadata.num_rows:
            raise pa.ArrowInvalid(f"its footer promises {file.metadata.num_rows} rows")


def _parquet_record(row: pa.RecordBatch) -> object:
    try:
        return row.to_pylist()[0]
    # a string that is not UTF-8; a date, or the name of a time zone, that Python does not know
    except (ValueError, OverflowError, LookupError) as error:
        return RowError(Reason.INVALID_TEXT, f"a value cannot be read: {error}")


def _length(value: object) -> int:
    """Count the characters of a text, or of the texts in a list."""
    if isinstance(value, list):
        return sum(map(_length, value))
    return len(value) if isinstance(value, str) else 0


def _check_columns(path: Path, names: list[str]) -> None:
    if not any(set(pair) <= set(names) for pair in NAMES):
        raise InputError(
            f"{path} has the columns {excerpt(list(names))}; it needs `context` and `answer`, or"
            " `source` and `title`"
        )
    if repeated := [name for name in _COLUMNS if names.count(name) > 1]:
        raise InputError(f"{path} has the column `{repeated[0]}` more than once; keep one of them")


_READERS: dict[str, Callable[[Path], _Rows]] = {
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
