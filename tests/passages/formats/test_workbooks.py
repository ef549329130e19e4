"""Excel workbooks: the first sheet, with the texts that its reader sees."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from tasks.config.settings import FieldSettings
from tasks.errors import InputError
from tasks.findings import Finding
from tasks.passages import limits
from tasks.passages.formats import workbooks
from tasks.passages.input import Input
from tasks.passages.inspection import find_layout
from tasks.passages.layout import Layout
from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reason, Reject
from tests.support.passage_texts import ROW, read, reason_of, write

HEADER = ["id", "context", "answer", "question"]


def save(
    path: Path, *rows: list[object], change: Callable[[Worksheet], object] | None = None
) -> Path:
    """Write a workbook of one sheet; `change` sees it before it is saved."""
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    for row in rows:
        sheet.append(row)
    if change is not None:
        change(sheet)
    book.save(path)
    return path


def test_rows_have_the_numbers_of_the_sheet_and_blank_ones_are_none(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.xlsx",
        [],
        HEADER,
        ["a", "长江\n很长", "长江", None],
        [],
        ["", " ", None, None],
    )
    pd.DataFrame([{"x": 1}]).to_csv(tmp_path / "other.csv")
    (row,) = read(path)
    assert isinstance(row, Passage)
    assert (row.line, row.id, row.context, row.reference) == (3, "a", "长江\n很长", None)


NUMBERS: dict[str, tuple[object, str, object]] = {
    "a whole number": (1912, "General", "1912"),
    "a fraction": (0.1 + 0.2, "General", "0.3"),
    "a whole number that is stored as a fraction": (5e15, "General", "5000000000000000"),
    "leading zeros": (7, "000", "007"),
    "a number as text": (1912, "@", "1912"),
    "a share": (0.5, "0%", Reason.WRONG_TYPE),
    "digits that are added": (1.5, "0.00", Reason.WRONG_TYPE),
    "thousands": (1912, "#,##0", Reason.WRONG_TYPE),
    "a truth": (True, "General", Reason.WRONG_TYPE),
    "a day": (dt.date(2026, 11, 28), "yyyy-mm-dd", Reason.WRONG_TYPE),
    "an error": ("#N/A", "General", Reason.MISSING_FIELD),
    "a formula that was never computed": ("=1+1", "General", Reason.MISSING_FIELD),
}


@pytest.mark.parametrize(("value", "shown", "expected"), NUMBERS.values(), ids=list(NUMBERS))
def test_an_answer_is_what_the_cell_shows_or_a_reject(
    tmp_path: Path, value: object, shown: str, expected: object
) -> None:
    def show(sheet: Worksheet) -> None:
        sheet["C2"].number_format = shown

    (row,) = read(save(tmp_path / "a.xlsx", HEADER, ["a", "长江", value, None], change=show))
    assert expected == (row.answer if isinstance(row, Passage) else row.reason)


@pytest.mark.parametrize(
    ("value", "shown", "expected"),
    [
        (1912, "General", "1912"),
        (1912.0, "0.00", "1912"),
        (7, "0000", "0007"),
        (dt.date(2026, 11, 28), "yyyy/m/d", "2026-11-28"),
        (dt.datetime(2026, 11, 28, 1, 30), "yyyy/m/d h:mm", "2026-11-28 01:30:00"),
    ],
)
def test_an_id_may_be_a_number_or_a_day(
    tmp_path: Path, value: object, shown: str, expected: str
) -> None:
    def show(sheet: Worksheet) -> None:
        sheet["A2"].number_format = shown

    (row,) = read(save(tmp_path / "a.xlsx", HEADER, [value, "长江", "江", None], change=show))
    assert row.id == expected


def test_the_first_sheet_that_is_shown_is_read_and_told(tmp_path: Path) -> None:
    book = Workbook()
    for title, state in (("隐藏", "hidden"), ("段落", "visible"), ("其他", "visible")):
        sheet = book.create_sheet(title)
        sheet.sheet_state = state
        sheet.append(HEADER)
        sheet.append([title, "长江", "江", None])
    del book["Sheet"]
    book.save(tmp_path / "a.xlsx")
    (row,) = read(tmp_path / "a.xlsx")
    assert row.id == "段落"
    found = Input.find(tmp_path / "a.xlsx")
    assert isinstance(found, Input)
    assert found.describe().endswith("from the sheet '段落' (the first of 2)")


def test_columns_may_have_other_names_and_cells_no_heading(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", ["段落", None, "答案"], ["长江", "x", "江", "y"], ["黄河"])
    fields = FieldSettings(context="段落", answer="答案")
    first, second = read_passages(path, 1, fields=fields)
    assert isinstance(first, Passage)
    assert (first.context, first.answer, reason_of(second)) == ("长江", "江", Reason.MISSING_FIELD)
    assert "it needs `context` and `answer`" in str(find_layout(path))


def test_the_content_tells_a_workbook_and_a_folder_leaves_open_ones_out(tmp_path: Path) -> None:
    save(tmp_path / "b.xlsm", HEADER, ["b", "长江", "江", None])
    save(tmp_path / "a", HEADER, ["a", "长江", "江", None]).rename(tmp_path / "a.xlsx")
    write(tmp_path / "~$a.xlsx", b"owner")
    assert [row.id for row in read(tmp_path)] == ["a", "b"]
    (tmp_path / "b.xlsm").rename(tmp_path / "b.csv")
    assert [row.id for row in read(tmp_path / "b.csv")] == ["b"]


def test_columns_are_read_though_the_size_of_the_sheet_is_wrong(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", HEADER, ["a", "长江", "江", "？"])
    changed = tmp_path / "b.xlsx"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for part in old.namelist():
            new.writestr(part, old.read(part).replace(b'ref="A1:D2"', b'ref="A1"'))
    assert [vars(row) for row in read(changed)] == [vars(row) for row in read(path)]


def test_columns_that_are_not_read_keep_their_types(tmp_path: Path) -> None:
    day = dt.datetime(2026, 11, 28)
    path = save(tmp_path / "a.xlsx", [*HEADER, "n", "day"], [1, "长江", "江", None, 7, day])
    layout = find_layout(path)
    assert isinstance(layout, Layout)
    (row,) = workbooks.read_workbook(path, layout)
    named = {"id": "1", "context": "长江", "answer": "江", "question": None}
    assert row.record == {**named, "n": 7, "day": day}


def test_template_4_reads_a_list_from_a_cell(tmp_path: Path) -> None:
    header = ["context", "answer", "prompt_common", "prompt_domain"]
    path = save(tmp_path / "a.xlsx", header, ["长江", "江", "问", '["新闻"]'])
    (row,) = read_passages(path, 4)
    assert isinstance(row, Passage)
    assert row.prompt_domain == ("新闻",)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no rows": (lambda path: save(path, HEADER), "has no rows"),
    "no header": (lambda path: save(path), "has no rows"),
    "a column twice": (lambda path: save(path, [*HEADER, "context"], [""]), "more than once"),
    "an archive": (
        lambda path: zipfile.ZipFile(path, "w").writestr("a.csv", "x"),
        "is an archive, or a damaged workbook",
    ),
    "no sheets": (
        lambda path: zipfile.ZipFile(path, "w").writestr("xl/workbook.xml", "<x/>"),
        "cannot be read as a workbook",
    ),
    "the old format": (lambda path: write(path, b"\xd0\xcf\x11\xe0"), "save it as .xlsx"),
    "a text": (lambda path: write(path, "context,answer\na,b\n"), "is not an Excel workbook"),
}


@pytest.mark.parametrize(("make", "said"), WRONG.values(), ids=list(WRONG))
def test_a_workbook_that_cannot_be_read_is_told(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    path = tmp_path / "a.xlsx"
    make(path)
    found = find_layout(path)
    assert isinstance(found, Finding)
    assert said in str(found)


def test_a_workbook_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.xlsx", HEADER, ["a", ROW["context"] * 50, "江", None])
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", 500)
    with pytest.raises(InputError, match="line 2 is longer"):
        read(path)
    monkeypatch.setattr(workbooks, "MOST_BYTES", 1000)
    assert "more than" in str(find_layout(path))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_workbook_that_is_cut_or_flipped_gives_its_rows_or_a_fault(
    tmp_path: Path, share: float
) -> None:
    rows: list[list[object]] = [[f"r{n}", f"长江{n}", "江", None] for n in range(50)]
    data = save(tmp_path / "a.xlsx", HEADER, *rows).read_bytes()
    at = int(share * len(data))
    flipped = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
    for changed in (data[:at], flipped):
        path = write(tmp_path / "b.xlsx", changed)
        try:
            outcomes = read(path)
        except InputError:
            continue
        assert [one.id for one in outcomes if not isinstance(one, Reject)] == [
            row[0] for row in rows
        ]
