"""How numbers and dates are written on the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

THIN = "\N{NARROW NO-BREAK SPACE}"
MINUTE, HOUR = 60, 3600


def count(number: float) -> str:
    """Give a whole number with its thousands apart."""
    return f"{number:,.0f}"


def decimal(number: float, digits: int = 2) -> str:
    """Give a number with some digits behind the point, and a minus that is one."""
    return f"{number:,.{digits}f}".replace("-", "−")


def percent(share: float) -> str:
    """Give a share of 1 in percent."""
    return f"{100 * share:.1f}{THIN}%"


def plural(number: float, noun: str) -> str:
    """Give a number of things; `noun` gets an s unless it is one thing."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Give a time as long as people say it: 0.31 s, 12.4 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole >= HOUR:
        return f"{whole // HOUR}{THIN}h {whole % HOUR // MINUTE:02d}{THIN}min"
    if whole >= MINUTE:
        return f"{whole // MINUTE}{THIN}min {whole % MINUTE:02d}{THIN}s"
    return f"{seconds:.{1 if seconds >= 1 else 2}f}{THIN}s"


def time_unit(seconds: float) -> tuple[int, str]:
    """Give the unit for an axis that is so long: its seconds and its sign."""
    if seconds >= 3 * HOUR:
        return HOUR, "h"
    return (MINUTE, "min") if seconds >= 5 * MINUTE else (1, "s")


def moment(iso: str) -> str:
    """Give an ISO 8601 time as a date and a time of day in UTC."""
    when = datetime.fromisoformat(iso).astimezone(UTC)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def value(setting: object) -> str:
    """Give the value of a setting: a text as it is, anything else as in JSON."""
    return setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)


FILTERS: dict[str, Callable[..., Any]] = {
    "count": count,
    "decimal": decimal,
    "percent": percent,
    "duration": duration,
    "moment": moment,
    "plural": plural,
    "value": value,
}
