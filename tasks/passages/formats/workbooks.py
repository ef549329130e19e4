"""Reading the first sheet of an Excel workbook (.xlsx) row by row.

openpyxl is imported only where there is a workbook.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tasks.errors import InputError
from tasks.findings import Finding
from tasks.passages import limits
from tasks.passages.formats.csv import with_lists
from tasks.passages.layout import (
    AT_LEAST_ONE,
    KEY,
    Layout,
    NoRows,
    RawRow,
    RawRows,
    find_names_fault,
)
from tasks.passages.records import is_nothing

if TYPE_CHECKING:
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

MOST_BYTES = 1 << 30
"""How large the parts of a workbook may be when they are unpacked; its texts are in memory."""

_CONTENT = "xl/workbook.xml"
_AS_IT_STANDS = {"General", "@"}  # formats that show a number with the digits that it has
_ZEROS = re.compile("0+")
_RETURN = "_x000D_"  # how Excel writes a carriage return


def is_workbook(path: Path) -> bool:
    """Return whether a file is an Excel workbook, whatever its name.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _CONTENT in archive.namelist()
    except zipfile.BadZipFile:
        return False


def inspect_workbook(place: str, path: Path, layout: Layout) -> Layout | Finding:
    """Return the layout with columns and fields, or why the workbook cannot be read."""
    try:
        with _open_sheet(path) as (sheet, names):
            rows = _rows(path, sheet)
            _, header = next(rows, (0, []))
            has_rows = next(rows, None) is not None
    except (InputError, OSError) as error:
        return Finding(KEY, str(error), "save it again, or save the sheet as CSV UTF-8")
    columns = _names(header)
    if not columns:
        return NoRows(KEY, f"{place}, sheet {names[0]!r} has no rows", AT_LEAST_ONE)
    fields = layout.fields.in_columns(columns)
    where = f"{place}, sheet {names[0]!r}"
    if fault := find_names_fault(where, "columns", [*columns, *layout.extra], fields):
        return fault
    if repeated := [name for name in fields.wanted_in(columns) if columns.count(name) > 1]:
        return Finding(KEY, f"{where} has the column `{repeated[0]}` more than once", "keep one")
    if not has_rows:
        return NoRows(KEY, f"{where} has no rows", AT_LEAST_ONE)
    return replace(layout, fields=fields, names=(*columns, *layout.extra), sheets=names)


def read_workbook(path: Path, layout: Layout) -> RawRows:
    """Yield the rows of the first sheet that is not hidden, with their numbers as lines.

    Cells without a heading are left out, and so are rows of empty cells. Of the columns that are
    read, a number that is shown with the digits it has is text, as is one with leading zeros;
    another number or a date is none, because the passage may have it in another form.

    Raises:
        InputError: the workbook is damaged or too large, or a row is longer than `MAX_ROW_BYTES`.
        OSError: the file cannot be read.
    """
    with _open_sheet(path) as (sheet, _names_of_sheets):
        rows = _rows(path, sheet)
        names = _names(next(rows, (0, []))[1])
        wanted = layout.fields.wanted_in(names)
        for number, cells in rows:
            found = dict(zip(names, [*cells, *[_Cell()] * len(names)], strict=False))
            found.pop("", None)
            record = {
                name: cell.text if name in wanted else cell.typed for name, cell in found.items()
            }
            if not all(map(is_nothing, record.values())):
                yield RawRow(number, with_lists(record, layout.fields))


@contextmanager
def _open_sheet(path: Path) -> Iterator[tuple[ReadOnlyWorksheet, tuple[str, ...]]]:
    """Yield the first sheet that is not hidden, and the names of those that are not, it first.

    Raises:
        InputError: the workbook is damaged or too large, or has no such sheet.
    """
    with _told(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist() if part.filename[:3] == "xl/")
        if size > MOST_BYTES:
            raise InputError(f"{path} has {size >> 20} MiB of text, more than {MOST_BYTES >> 20}")
        from openpyxl import load_workbook

        # It warns of everything that it leaves out, such as rules for colors.
        warnings.filterwarnings("ignore", module=r"openpyxl\.")
        with path.open("rb") as file:  # of a path, it would believe the name
            workbook = load_workbook(file, read_only=True, data_only=True)
            shown = [one for one in workbook.worksheets if one.sheet_state == "visible"]
            if not shown:
                raise InputError(f"{path} has no sheet of rows that is not hidden")
            yield shown[0], tuple(one.title for one in shown)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn whatever openpyxl raises at a damaged workbook into an `InputError`."""
    try:
        yield
    except (InputError, OSError, MemoryError, GeneratorExit):
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read as a workbook: {error}") from error


class _Cell(NamedTuple):
    """The value of a cell, and the format in which it is shown."""

    value: object = None
    shown: str = ""

    @property
    def typed(self) -> object:
        """The value as it is stored; a date if the cell shows no time of day."""
        value = self.value
        if not isinstance(value, datetime) or value.time() != time():
            return value
        return value if "h" in self.shown.lower() else value.date()

    @property
    def text(self) -> object:
        """The value as its reader sees it, if that is certain; else as it is stored."""
        value = self.value
        if isinstance(value, datetime) and value.time() == time():
            return value.date()
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        if self.shown in _AS_IT_STANDS:
            return str(int(value)) if value == int(value) else f"{value:.15g}"
        is_padded = _ZEROS.fullmatch(self.shown) and value == int(value) >= 0
        return str(int(value)).zfill(len(self.shown)) if is_padded else value


def _rows(path: Path, sheet: ReadOnlyWorksheet) -> Iterator[tuple[int, list[_Cell]]]:
    """Yield the rows that are not blank with their numbers, from 1."""
    sheet.reset_dimensions()  # other programs write wrong ones, by which columns would be missing
    rows: Iterator[Sequence[object]] = sheet.iter_rows()  # type: ignore[misc]  # wrong in its types
    for number, cells in enumerate(rows, 1):
        found = [_Cell(_value(cell), getattr(cell, "number_format", None) or "") for cell in cells]
        texts = (one.value for one in found if isinstance(one.value, str))
        limits.check_size(path, number, sum(map(len, texts)))
        if not all(is_nothing(one.value) for one in found):
            yield number, found


def _value(cell: object) -> object:
    """Return the stored value of a cell.

    An error such as #N/A, and a formula that was never computed, are no value.
    """
    value, kind = (getattr(cell, name) for name in ("value", "data_type"))
    if kind == "e":
        return None
    return value.replace(_RETURN, "\r") if isinstance(value, str) else value


def _names(header: Sequence[_Cell]) -> list[str]:
    names = ["" if one.value is None else str(one.value) for one in header]
    while names and not names[-1]:
        names.pop()
    return names
