"""Files of passages, read row by row: JSON lines, JSON arrays, CSV and Parquet.

A fault of one row is a `Reject` and reading goes on; a fault that makes the rest of the file
unreadable is an `InputError`. One row (of Parquet: one batch) is in memory at a time.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import InputError
from tasks.passages import NAMES, Passage, Reason, Reject, RowError, excerpt, parse_record

MAX_ROW_BYTES = 64 << 20
_PIECE_BYTES = 1 << 16
_PARQUET_ROWS = 512
_COLUMNS = ("id", *NAMES[0], *NAMES[1], "target", "question", "prompt_common", "prompt_domain")
_MARKS = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)
_CSV_CANNOT_GO_ON = ("unexpected end of data", "field larger than field limit")
_Rows = Iterator[tuple[int | None, object]]  # line, and a record or the `RowError` of its format


def read_passages(path: Path, template: int) -> Iterator[Passage | Reject]:
    """Read a file of passages lazily: one `Passage` or `Reject` for every row, in order.

    Args:
        path: `.jsonl` (JSON lines), `.json` (an array or JSON lines), `.csv` (with a header row)
            or `.parquet`.
        template: Template of the run; 4 needs `prompt_common` and `prompt_domain`.

    Raises:
        InputError: the file is not there, is of another kind, has no row, or cannot be read on.
    """
    read = _reader_of(path)
    row = -1
    try:
        for row, (line, record) in enumerate(read(path)):
            yield parse_record(record, row, line, template)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read on after {row + 1} rows: {error}; the file may be damaged or"
            " closed to this user"
        ) from error
    if row < 0:
        raise InputError(f"{path} has no rows; give at least one in `dataset.predict_file`")


def _reader_of(path: Path) -> Callable[[Path], _Rows]:
    """Choose the reader, after the checks that need no reading."""
    read = _READERS.get(path.suffix.lower())
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file in `dataset.predict_file`")
    if not path.exists():
        raise InputError(f"{path} does not exist; correct `dataset.predict_file`")
    if read is None:
        kinds = ", ".join(_READERS)
        raise InputError(f"{path} is of an unknown kind; `dataset.predict_file` reads {kinds}")
    return read


def _read_json(path: Path) -> _Rows:
    with path.open("rb") as file:
        _skip_byte_order_mark(path, file)
        is_array = path.suffix.lower() == ".json" and _first_byte(file) == b"["
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


def _skip_byte_order_mark(path: Path, file: BinaryIO) -> None:
    start = file.read(3)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16; save it as UTF-8")
    file.seek(3 if start == b"\xef\xbb\xbf" else 0)


def _first_byte(file: BinaryIO) -> bytes:
    """Give the first byte that is no white space, and go back to where the file was."""
    start = file.tell()
    while (byte := file.read(1)).isspace():
        pass
    file.seek(start)
    return byte


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Give the lines that are not blank, numbered from 1."""
    line = 0
    while data := file.readline(MAX_ROW_BYTES + 1):
        line += 1
        _check_size(path, line, len(data))
        if data.decode(errors="replace").strip():  # text knows more kinds of space than bytes
            yield line, data


def _array_elements(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Cut a JSON array into the bytes of its elements, with the line on which each starts.

    Whether an element is JSON is seen when it is parsed, so that a bad one costs one row. An event
    parser cannot give that: with ijson 3.6 a lone surrogate becomes "?", an integer of 5,000
    digits ends the process, and one bad byte makes the rest unreadable.
    """
    line = 1
    while (byte := file.read(1)) != b"[":
        line += byte == b"\n"
    cuts = _cut_at_marks(file)
    parts: list[bytes] = []
    depth, size, rows = 1, 0, 0
    for data, mark in cuts:
        parts.append(data)
        size += len(data)
        _check_size(path, line, size)
        if depth > 1 or mark not in (b",", b"]"):
            depth = max(1, depth + _DEPTH[mark])
            continue
        element = b"".join(parts)[:-1]
        start = _first_line(line, element)
        if element.strip():
            yield start, element
        elif rows or mark == b",":
            raise InputError(f"{path}, line {start}: a comma without a row; repair the array")
        if mark == b"]":
            return _check_nothing_follows(path, start, cuts)
        parts, size, rows, line = [], 0, rows + 1, line + element.count(b"\n")
    line = _first_line(line, b"".join(parts))
    raise InputError(f"{path}: the row that starts on line {line} has no end; repair the array")


_DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1, b",": 0, b"": 0}


def _cut_at_marks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
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


def _first_line(line: int, element: bytes) -> int:
    """Give the line of the first byte that is no white space."""
    return line + element[: -len(element.lstrip()) or None].count(b"\n")


def _check_nothing_follows(path: Path, line: int, cuts: Iterator[tuple[bytes, bytes]]) -> None:
    if any(data.strip() for data, _ in cuts):
        raise InputError(f"{path} goes on after the array that ends near line {line}; repair it")


def _check_size(path: Path, line: int, size: int) -> None:
    if size > MAX_ROW_BYTES:
        raise InputError(
            f"{path}: the row that starts on line {line} is longer than"
            f" {MAX_ROW_BYTES >> 20} MiB; put one passage in a row"
        )


def _read_csv(path: Path) -> _Rows:
    with path.open("rb") as file:
        _skip_byte_order_mark(path, file)
    csv.field_size_limit(MAX_ROW_BYTES)  # of the process; the standard 128 KiB is too little
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        rows = csv.reader(text, strict=True)
        header: list[str] = []
        while (line := rows.line_num + 1) and (cells := _next_cells(path, rows)) is not None:
            if isinstance(cells, list) and len(cells) < 2 and not "".join(cells).strip():
                continue
            if header:
                yield line, _csv_record(header, cells)
            else:
                header = cells if isinstance(cells, list) else [str(cells)]
                _check_columns(path, header)


def _next_cells(path: Path, rows: Any) -> list[str] | RowError | None:  # noqa: ANN401 `_csv.reader`
    """Give the next row, the fault that makes it none, or None at the end."""
    line = rows.line_num + 1
    try:
        return next(rows, None)
    except csv.Error as error:
        if str(error).startswith(_CSV_CANNOT_GO_ON):
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
        for batch in file.iter_batches(_PARQUET_ROWS, columns=wanted):
            for index in range(batch.num_rows):
                yield None, _parquet_record(batch.slice(index, 1))


def _parquet_record(row: pa.RecordBatch) -> object:
    try:
        return row.to_pylist()[0]
    except ValueError as error:  # a string that is not UTF-8, a time that Python does not know
        return RowError(Reason.INVALID_TEXT, f"a value cannot be read: {error}")


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if not any(set(pair) <= set(names) for pair in NAMES):
        raise InputError(
            f"{path} has the columns {excerpt(list(names))}; it needs `context` and `answer`, or"
            " `source` and `title`"
        )


_READERS: dict[str, Callable[[Path], _Rows]] = {
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
