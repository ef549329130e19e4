"""How long a row of passages may be."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import InputError

MAX_ROW_BYTES = 16 << 20  # with template 4 tokenising takes up to 110 times as much memory


def check_size(path: Path, line: int, size: int, hint: str = "") -> None:
    """Raise `InputError` if the row that starts on `line` has more than `MAX_ROW_BYTES`."""
    if size > MAX_ROW_BYTES:
        raise row_too_long(f"{path}: the row that starts on line {line}", hint)


def row_too_long(row: str, hint: str = "") -> InputError:
    """Return the error of a row that is too long; `row` says which."""
    limit = f"{MAX_ROW_BYTES >> 20} MiB"
    return InputError(f"{row} is longer than {limit}; put one passage in a row{hint}")
