"""One type for all values of a column, or none: then its values are kept as JSON text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache, reduce
from io import BytesIO
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from tasks.columns.values import clean

MOST_FIELDS = 100
"""Of the objects in a column of JSON: more are data, not names, and would be as many columns."""

MOST_LEVELS = 50
"""Of lists and objects within each other in a column of JSON: Arrow cannot read 250 of them."""

_FAULTS = (pa.ArrowException, OverflowError, ValueError, TypeError)


def infer_type(values: Sequence[object]) -> pa.DataType | None:
    """Return the type of Python values; None if they have no common one.

    Values of JSON with more than `MOST_FIELDS` fields or `MOST_LEVELS` levels have none.
    """
    with suppress(*_FAULTS, RecursionError):
        if not _are_of_one_class(values):  # Arrow reads a number after a date as a date
            return None
        found = pa.infer_type(values)
        is_small = count_fields(found) <= MOST_FIELDS and _count_levels(found) <= MOST_LEVELS
        return found if is_small else None
    return None


def _are_of_one_class(values: Iterable[object]) -> bool:
    """Return whether values, and those at each place within lists and objects, are of one class.

    Whole numbers and fractions together are numbers; true and false are none. Null is of any class.
    """
    known = [value for value in values if value is not None]
    found = {*map(type, known)}
    if len(found) > 1:
        return found == {int, float}
    if found == {list}:
        return _are_of_one_class(chain.from_iterable(known))  # type: ignore[arg-type]
    if found == {dict}:
        by_name = defaultdict[object, list[object]](list)
        for name, value in chain.from_iterable(one.items() for one in known):  # type: ignore[attr-defined]
            by_name[name].append(value)
        return all(map(_are_of_one_class, by_name.values()))
    return True


def unify(types: Iterable[pa.DataType | None]) -> pa.DataType | None:
    """Return a type that has all values of these types, and that Parquet has; None without one.

    Whole numbers and fractions are fractions, objects have the fields of all. Without any value,
    the type is that of text.
    """
    found = reduce(_unify_two, types, pa.null())
    known = None if found is None else _without_null(found)
    return known if known is not None and is_writable(known) else None


def _unify_two(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    if one is None or other is None or one.equals(other):
        return None if one is None or other is None else one
    schemas = [pa.schema([pa.field("x", kind)]) for kind in (one, other)]
    with suppress(*_FAULTS):
        merged = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        return merged if _can_hold(merged, (one, other)) else None
    return None


def _can_hold(merged: pa.DataType, types: Sequence[pa.DataType]) -> bool:
    """Return whether values keep their meaning: bytes are no text, and JSON has few fields."""
    is_text = kinds.is_string(merged) or kinds.is_large_string(merged)
    has_bytes = any(kinds.is_binary(one) or kinds.is_large_binary(one) for one in types)
    most = max(MOST_FIELDS, *map(count_fields, types))
    return not (is_text and has_bytes) and count_fields(merged) <= most


def count_fields(kind: pa.DataType) -> int:
    """Return the number of fields of all objects in a type."""
    if kinds.is_nested(kind) and not kinds.is_dictionary(kind):
        inner = [kind.field(number) for number in range(kind.num_fields)]
        own = len(inner) if kinds.is_struct(kind) else 0
        return own + sum(count_fields(field.type) for field in inner)
    return 0


def _count_levels(kind: pa.DataType) -> int:
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return 1 + max(map(_count_levels, inner)) if inner else 0


def _without_null(kind: pa.DataType) -> pa.DataType:
    """Return a type in which text stands for the type of what has only nulls."""
    if kinds.is_null(kind):
        return pa.string()
    if kinds.is_struct(kind):
        fields = [kind.field(number) for number in range(kind.num_fields)]
        return pa.struct([field.with_type(_without_null(field.type)) for field in fields])
    if kinds.is_list(kind):
        return pa.list_(kind.value_field.with_type(_without_null(kind.value_type)))
    return kind


@cache
def is_writable(kind: pa.DataType) -> bool:
    """Return whether Parquet has a type."""
    try:
        pq.write_table(pa.schema([pa.field("x", kind)]).empty_table(), BytesIO())
    except pa.ArrowException:
        return False
    return True


def make_array(values: Sequence[object], kind: pa.DataType) -> pa.Array | None:
    """Return Python values as an array; None if one of them does not have the type.

    Characters that are no text are replaced.
    """
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return make_array([clean(value) for value in values], kind)
    except _FAULTS:
        return None
