"""JSON lines and JSON arrays, row by row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import InputError
from tasks.passages import limits
from tasks.passages.formats import PassageFile, RawRows, kind_of, open_passages
from tasks.passages.limits import check_size
from tasks.passages.records import Reason, RowError, excerpt

_PIECE_BYTES = 1 << 16
_MARKS = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)


def read_json(path: Path) -> RawRows:
    """Yield the rows of a file of JSON lines, or of one JSON array, which may be in gzip.

    Raises:
        InputError: it is UTF-16, the array is broken, or a row is too long.
    """
    with open_passages(path) as file:
        skip_byte_order_mark(path, file)
        is_array = ".jsonl" not in kind_of(path) and _first_byte(file) == b"["
        for line, data in _array_elements(path, file) if is_array else _lines(path, file):
            yield line, parse_json(data)


def parse_json(data: bytes) -> object:
    """Return the value of the JSON text of one row, or the row's `RowError`."""
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        around = excerpt(data[max(0, error.start - 20) : error.end + 20])
        return RowError(Reason.INVALID_TEXT, f"byte {error.start} is not UTF-8: {around}")
    except RecursionError:
        return RowError(Reason.NOT_JSON, f"it is nested too deeply: {excerpt(data.decode())}")
    except ValueError as error:  # bad JSON, or an integer of too many digits
        return RowError(Reason.NOT_JSON, f"it is not JSON ({error}): {excerpt(data.decode())}")


def skip_byte_order_mark(path: Path, file: PassageFile) -> None:
    """Move to the first byte of text; raise `InputError` if the text is UTF-16."""
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
    while data := file.readline(limits.MAX_ROW_BYTES + 1):
        line += 1
        check_size(path, line, len(data))
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
        check_size(path, line, len(element))
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
