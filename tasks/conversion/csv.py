"""CSV for spreadsheets: in UTF-8 with a mark that tells them so, and without formulas."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from decimal import Decimal

from tasks.columns.values import as_plain
from tasks.conversion.questions import Questions, Tally

# OWASP's list, also in full width, as East Asian versions of spreadsheets take it; some programs
# skip spaces in front.
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")
encode = json.JSONEncoder(ensure_ascii=False).encode


class _Line:
    """A file that gives back what is written into it."""

    def write(self, text: str) -> str:
        return text


def as_csv(questions: Questions, tally: Tally) -> Iterator[str]:
    """Yield the lines of the file; the first one has the names of the columns.

    Raises:
        StoreCorruptionError: the questions cannot be read.
    """
    names = questions.names
    writer = csv.writer(_Line())
    yield str(writer.writerow(map(defuse, names)))
    for question in questions:
        tally.add(question)
        yield str(writer.writerow([as_cell(question[name]) for name in names]))


def as_cell(value: object) -> str:
    """Return the text of a cell: empty for null, JSON for lists and objects, no formula."""
    if isinstance(value, Decimal):
        return str(value)
    plain = as_plain(value)
    if plain is None:
        return ""
    if isinstance(plain, int | float):
        return str(plain)
    return defuse(plain if isinstance(plain, str) else encode(plain))


def defuse(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: `'` stands before one."""
    return f"'{text}" if _FORMULA.match(text) else text
