"""Values of Arrow as those of Python, also where Python has no such value; and as JSON text."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds

_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def python_values(array: pa.Array) -> list[Any]:
    """Return the values of an array, with something else for what Python does not have.

    A date beyond the year 9999, a time with nanoseconds, one of an unknown time zone and a long
    duration are text. Bytes that are no text are replaced. Another value is null.
    """
    return [_value_of(scalar) for scalar in array]


def _value_of(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, LookupError):
        pass
    kind = scalar.type
    if isinstance(scalar, pa.DictionaryScalar | pa.UnionScalar | pa.ExtensionScalar):
        return _value_of(scalar.value)
    if isinstance(scalar, pa.StructScalar):
        return {name: _value_of(scalar[number]) for number, name in enumerate(kind.names)}
    if isinstance(scalar, pa.ListScalar):
        values = python_values(scalar.values)
        return [tuple(pair.values()) for pair in values] if kinds.is_map(kind) else values
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        return scalar.as_buffer().to_pybytes().decode(errors="replace")
    return _as_text(scalar) if kinds.is_temporal(kind) else None


def _as_text(scalar: pa.Scalar) -> str | None:
    """Return a date, a time or a duration as text, in UTC if it has a time zone."""
    kind = scalar.type
    if kinds.is_duration(kind):
        return f"{scalar.value} {kind.unit}"
    has_zone = kinds.is_timestamp(kind) and kind.tz is not None
    text = (scalar.cast(pa.timestamp(kind.unit)) if has_zone else scalar).cast(pa.string()).as_py()
    if text.startswith("<"):  # Arrow's own, for a year that it does not have either
        return None
    return f"{text}+00:00" if has_zone else text


def as_json(value: object) -> str | None:
    """Return a value as JSON text; null for null, and for what is nested too deeply."""
    if value is None:
        return None
    try:
        return str(clean(json.dumps(value, ensure_ascii=False, default=str)))
    except RecursionError:
        return None


def as_plain(value: object) -> Any:  # noqa: ANN401 any type of JSON
    """Return a value of `python_values` as one of JSON types.

    What JSON does not have is text; a number that is infinite or none is null.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {str(name): as_plain(inner) for name, inner in value.items()}
    return [*map(as_plain, value)] if isinstance(value, list | tuple) else str(value)


def clean(value: object) -> object:
    """Return a value in which characters that are no text are replaced."""
    if isinstance(value, str):
        return _SURROGATE.sub(_REPLACEMENT, value)
    if isinstance(value, dict):
        return {clean(name): clean(inner) for name, inner in value.items()}
    return list(map(clean, value)) if isinstance(value, list) else value
