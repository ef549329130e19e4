"""How large a row may be."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import InputError

MAX_ROW_BYTES = 16 << 20  # tokenizing with template 4 takes up to 110 times as much memory


def check_size(path: Path, line: int, size: int, hint: str = "") -> None:
    """Check the size of the row that starts on `line`; `hint` is added to the message.

    Raises:
        InputError: the row is longer than `MAX_ROW_BYTES`.
    """
    if size > MAX_ROW_BYTES:
        raise row_too_long(f"{path}: the row that starts on line {line}", hint)


def row_too_long(row: str, hint: str = "") -> InputError:
    """Return the error for a row that is too long; `row` names the file and the row."""
    limit = f"{MAX_ROW_BYTES >> 20} MiB"
    return InputError(f"{row} is longer than {limit}; put one passage in a row{hint}")
