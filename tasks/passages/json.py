"""Reading JSON lines and JSON arrays row by row."""

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
    """Yield the rows of JSON lines or of one JSON array, optionally compressed with gzip.

    Raises:
        InputError: the file is UTF-16, the array is malformed between its elements, or a row is
            longer than `MAX_ROW_BYTES`.
        OSError, EOFError, zlib.error: the file cannot be read or decompressed.
    """
    with open_passages(path) as file:
        skip_byte_order_mark(path, file)
        is_array = ".jsonl" not in kind_of(path) and _first_byte(file) == b"["
        for line, data in _array_elements(path, file) if is_array else _lines(path, file):
            yield line, parse_json(data)


def parse_json(data: bytes) -> object:
    """Return the value of the JSON text of one row, or its `RowError`."""
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
    """Position a newly opened file behind a UTF-8 byte order mark, if it has one.

    Raises:
        InputError: the file is UTF-16.
    """
    start = file.read(3)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16; save it as UTF-8")
    file.seek(3 if start == b"\xef\xbb\xbf" else 0)


def _first_byte(file: PassageFile) -> bytes:
    """Return the first byte that is not white space; the file's position does not change."""
    start, found = file.tell(), b""
    while not found and (piece := file.read(_PIECE_BYTES)):
        found = piece.lstrip()[:1]
    file.seek(start)
    return found


def _lines(path: Path, file: PassageFile) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank with their numbers, from 1."""
    line = 0
    while data := file.readline(limits.MAX_ROW_BYTES + 1):
        line += 1
        check_size(path, line, len(data))
        if data.decode(errors="replace").strip():  # str.strip also removes Unicode spaces
            yield line, data


def _array_elements(path: Path, file: PassageFile) -> Iterator[tuple[int, bytes]]:
    """Yield the first line and the bytes of each element of a JSON array.

    Elements are not parsed here, so a malformed one costs one row. An event parser cannot do that:
    with ijson 3.6 a lone surrogate becomes "?", an integer of 5,000 digits ends the process, and
    one bad byte makes the rest unreadable.
    """
    cutter, end, rows = _ArrayCutter(path, file), b",", 0
    while end == b",":
        line, element, end = cutter.next_element()
        if element.strip():
            yield line, element
            rows += 1
        elif rows or end == b",":  # otherwise the array is empty
            raise InputError(f"{path}, line {line}: a comma without a row; repair the array")
    cutter.check_nothing_follows(line)


class _ArrayCutter:
    """Cuts a JSON array at the commas between its elements, counting lines."""

    def __init__(self, path: Path, file: PassageFile) -> None:
        self._path = path
        self._cuts = _cut_at_marks(file)
        self._line = 1  # of the next byte
        for data, mark in self._cuts:
            self._line += data.count(b"\n")
            if mark:  # the bracket that opens the array
                break

    def next_element(self) -> tuple[int, bytes, bytes]:
        """Return the first line and the bytes of an element, and what ends it: `,` or `]`."""
        element, depth = bytearray(), 0
        for data, mark in self._cuts:
            element += data
            check_size(self._path, self._line, len(element))
            if depth == 0 and mark in (b",", b"]"):
                del element[-1]
                line = self._first_line(element)
                self._line += element.count(b"\n")
                return line, bytes(element), mark
            depth = max(0, depth + _DEPTH[mark])
        raise InputError(
            f"{self._path}: the row that starts on line {self._first_line(element)} has no end;"
            " repair the array"
        )

    def check_nothing_follows(self, line: int) -> None:
        """Check that only white space follows the array, whose last element is on `line`."""
        if any(data.strip() for data, _ in self._cuts):
            raise InputError(
                f"{self._path} continues after the array that ends near line {line}; repair it"
            )

    def _first_line(self, element: bytearray) -> int:
        """Return the line of an element's first byte that is not white space."""
        return self._line + element[: -len(element.lstrip()) or None].count(b"\n")


_DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1, b",": 0, b"": 0}


def _cut_at_marks(file: PassageFile) -> Iterator[tuple[bytes, bytes]]:
    """Cut a file after each bracket and comma outside strings; yield the pieces and these marks.

    The mark of a piece that ends elsewhere is empty.
    """
    in_string, waiting = False, b""
    while piece := file.read(_PIECE_BYTES):
        piece = waiting + piece
        backslashes = len(piece) - len(piece.rstrip(b"\\"))
        waiting = b"\\" * (backslashes % 2)  # escapes a character that has not been read yet
        start, end = 0, len(piece) - len(waiting)
        for mark in _MARKS.finditer(piece, 0, end):
            if mark[0] == b'"':
                in_string = not in_string
            elif not in_string and len(mark[0]) == 1:
                yield piece[start : mark.end()], mark[0]
                start = mark.end()
        yield piece[start:end], b""
    yield waiting, b""
