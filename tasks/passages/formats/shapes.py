"""Where a file of JSON begins to have another shape: told once, not as a reject for each line.

A row that is wrong by itself (a text, a damaged line) stays a reject. Nested JSON among flat rows
is no other shape, because each is read as what it is.
"""

from __future__ import annotations

from pathlib import Path

from tasks.errors import InputError
from tasks.passages.fields import Fields
from tasks.passages.formats.squad import is_nested
from tasks.passages.records import Reason, RowError

_OPENING = {b"{", b"[", b"[{"}  # all that the first line of a value of several lines has
_REMEDY = "write one object a line (jq -c), or one array"


class Shape:
    """The shape of a file's values, which all of them must have.

    Args:
        path: the file, to be shown.
        fields: that rows may have.
    """

    def __init__(self, path: Path, fields: Fields) -> None:
        self._path, self._fields = path, fields
        self._first: tuple[int, bool] | None = None  # line, and whether it has a list of rows
        self._opening: int | None = None  # a line that may begin a value of several lines

    def check(self, line: int, data: bytes, value: object) -> None:
        """Check the next value of the file.

        Args:
            line: on which it starts.
            data: its bytes.
            value: the value, or its `RowError`.

        Raises:
            InputError: it has another shape than those before it.
        """
        opening, self._opening = self._opening, None
        if isinstance(value, RowError):
            is_malformed = self._first is not None and value.reason is Reason.NOT_JSON
            if is_malformed and opening is not None:
                raise self._fault(opening, "begins a value of several lines")
            self._opening = line if is_malformed and data.strip() in _OPENING else None
            return
        is_list = isinstance(value, list) and any(map(self._is_row, value))
        if not is_list and not isinstance(value, dict):
            return
        if self._first is None:
            self._first = (line, is_list)
        elif is_list is not self._first[1]:
            raise self._fault(line, "is a list of rows" if is_list else "is one row")

    def _is_row(self, value: object) -> bool:
        has_pair = isinstance(value, dict) and {*self._fields.pair_in(value)} <= value.keys()
        return has_pair or is_nested(value, self._fields)

    def _fault(self, line: int, what: str) -> InputError:
        first, is_list = self._first or (0, False)
        before = "is a list of rows" if is_list else "is one row"
        return InputError(
            f"{self._path} mixes shapes: line {first} {before}, and line {line} {what}; {_REMEDY}"
        )
