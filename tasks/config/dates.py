"""The day in a path: `{date}`, `{date-1}`, `{date:%Y%m%d}`, `{date-1:%Y%m%d}`."""

from __future__ import annotations

import re
from datetime import date, timedelta

TEMPLATES = "{date}, {date-1}, {date:%Y%m%d} or {date-1:%Y%m%d}"

_TEMPLATE = re.compile(r"\{date(?P<offset>[+-]\d{1,4})?(?::(?P<format>[^{}]+))?\}")
_MEANT_AS_ONE = re.compile(r"\{\s*date", re.IGNORECASE)
_DIRECTIVE = re.compile(r"%(-?.|$)")
_OF_A_DAY = frozenset("aAbBdeFgGjmuUVwWyY%")  # the directives of strftime that need no time of day


def check_templates(text: str) -> str:
    """Return a text whose templates are correct.

    Raises:
        ValueError: one is not; says what is allowed.
    """
    formats = [found["format"] for found in _TEMPLATE.finditer(text)]
    if _MEANT_AS_ONE.search(_TEMPLATE.sub("", text)):
        raise ValueError(f"allowed here: {TEMPLATES}")
    for form in formats:
        if form is not None:
            _check_format(form)
    return text


def _check_format(form: str) -> None:
    directives = [found[1] for found in _DIRECTIVE.finditer(form)]
    wrong = [f"%{one}" for one in directives if one.removeprefix("-") not in _OF_A_DAY]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} is no part of a day; for example {{date:%Y%m%d}}")
    if set(directives) <= {"%"}:
        raise ValueError(f"{form!r} names no part of a day; for example {{date:%Y%m%d}}")


def replace_templates(text: str, day: date) -> str:
    """Return the text with its templates replaced: `{date-1}` is the day before `day`.

    Raises:
        OverflowError: there is no such day in the calendar.
    """

    def replaced(found: re.Match[str]) -> str:
        shifted = day + timedelta(days=int(found["offset"] or 0))
        return shifted.strftime(found["format"]) if found["format"] else shifted.isoformat()

    return _TEMPLATE.sub(replaced, text)
