"""The formats of numbers and dates on the page: filters for the templates."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

THIN = "\N{NARROW NO-BREAK SPACE}"
MINUTE, HOUR = 60, 3600


def count(number: float) -> str:
    """Return a number without decimals and with thousands separators."""
    return f"{number:,.0f}"


def decimal(number: float, digits: int = 2) -> str:
    """Return a number with `digits` decimals and a typographic minus sign."""
    return f"{number:,.{digits}f}".replace("-", "−")


def percent(share: float) -> str:
    """Return a share of 1 as a percentage."""
    return f"{100 * share:.1f}{THIN}%"


def duration(seconds: float) -> str:
    """Return a duration such as 0.31 s, 12.4 s, 3 min 20 s or 2 h 05 min."""
    whole = round(seconds)
    if whole >= HOUR:
        return f"{whole // HOUR}{THIN}h {whole % HOUR // MINUTE:02d}{THIN}min"
    if whole >= MINUTE:
        return f"{whole // MINUTE}{THIN}min {whole % MINUTE:02d}{THIN}s"
    return f"{seconds:.{1 if seconds >= 1 else 2}f}{THIN}s"


def price(amount: float) -> str:
    """Return an amount of money, with four decimals if it is below 1."""
    return f"{amount:,.{2 if amount >= 1 or amount == 0 else 4}f}"


def time_unit(seconds: float) -> tuple[int, str]:
    """Return the unit of a time axis of `seconds`: the unit's seconds and its symbol."""
    if seconds >= 3 * HOUR:
        return HOUR, "h"
    return (MINUTE, "min") if seconds >= 5 * MINUTE else (1, "s")


def value(setting: object) -> str:
    """Return the value of a setting: strings unchanged, anything else as JSON."""
    return setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)


FILTERS: dict[str, Callable[..., Any]] = {
    "count": count,
    "decimal": decimal,
    "percent": percent,
    "duration": duration,
    "price": price,
    "value": value,
}
