"""Cutting a JSON array into its elements without parsing them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import InputError
from tasks.passages.layout import PassageFile
from tasks.passages.limits import check_size

_PIECE_BYTES = 1 << 16
_MARKS = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)
_DATA = re.compile(rb'"data"\s*:\s*\[\Z')

Elements = Iterator[tuple[int, bytes]]


def array_elements(path: Path, file: PassageFile, is_in_data: bool) -> Elements:
    """Yield the first line, from 1, and the bytes of each element of a JSON array.

    The array is the whole file or, with `is_in_data`, the value of `data` in its object.

    Elements are not parsed here, so a malformed one costs one row. An event parser cannot do that:
    with ijson 3.6 a lone surrogate becomes "?", an integer of 5,000 digits ends the process, and
    one bad byte makes the rest unreadable.

    Raises:
        InputError: the array is malformed between its elements, something follows it, or an element
            is longer than `MAX_ROW_BYTES`.
    """
    cutter, end, rows = _ArrayCutter(path, file, is_in_data), b",", 0
    while end == b",":
        line, element, end = cutter.next_element()
        if element.strip():
            yield line, element
            rows += 1
        elif rows or end == b",":  # otherwise the array is empty
            raise InputError(f"{path}, line {line}: a comma without a row; repair the array")
    if is_in_data:
        cutter.check_object_ends(line)
    else:
        cutter.check_nothing_follows(line)


class _ArrayCutter:
    """Cuts a JSON array at the commas between its elements, counting lines.

    The array is the whole file, or the value of `data` in it.
    """

    def __init__(self, path: Path, file: PassageFile, is_in_data: bool = False) -> None:
        self._path = path
        self._cuts = _cut_at_marks(file)
        self._line = 1  # of the next byte
        before = b""
        for data, mark in self._cuts:
            self._line += data.count(b"\n")
            before += data
            if _DATA.search(before) if is_in_data else mark:  # the bracket that opens the array
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

    def check_object_ends(self, line: int) -> None:
        """Check that the object ends whose `data` ends near `line`, and that nothing follows it."""
        rest = bytearray(b'{"data":[]')
        for data, _ in self._cuts:
            rest += data
            check_size(self._path, line, len(rest))
        try:
            names = json.loads(rest, object_pairs_hook=lambda pairs: [name for name, _ in pairs])
        except (ValueError, RecursionError):
            names = ()
        if names.count("data") != 1:
            raise InputError(
                f"{self._path} is not one object whose `data` ends near line {line}; repair it, or "
                "write one object a line"
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
