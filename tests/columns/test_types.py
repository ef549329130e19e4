"""Values of several kinds have no common type, in whatever order they come."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
import pytest

from tasks.columns.types import infer_type, make_array, unify

KINDS = {
    "truth": True,
    "whole": 45000,
    "fraction": 0.5,
    "text": "江",
    "date": date(2026, 11, 28),
    "datetime": datetime(2026, 11, 28, 9, 30),
    "time": time(9, 30),
    "timedelta": timedelta(hours=1),
    "list": [1],
    "object": {"a": 1},
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "column": lambda value: value,
    "lists": lambda value: [value],
    "objects": lambda value: {"x": value},
    "lists of objects": lambda value: [None, {"x": [value], "y": 1}],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("one", KINDS)
def test_only_whole_numbers_and_fractions_have_a_common_type(one: str, place: str) -> None:
    put = PLACES[place]
    for other in KINDS:
        values = [put(KINDS[one]), None, put(KINDS[other])]
        found = infer_type(values)
        across_chunks = unify(infer_type([value]) for value in values)
        assert found == across_chunks, other
        if one == other or {one, other} == {"whole", "fraction"}:
            assert found is not None, other
            array = make_array(values, found)
            assert array is not None, other
            assert array.to_pylist() == values
        else:
            assert found is None, other


def test_kinds_may_differ_between_places_and_null_is_of_any() -> None:
    values = [{"a": [None, 1], "b": None}, {"a": None, "b": "文"}, {"b": "x", "c": True}, None]
    expected = {"a": pa.list_(pa.int64()), "b": pa.string(), "c": pa.bool_()}
    assert infer_type(values) == pa.struct([*expected.items()])


@pytest.mark.parametrize(("levels", "has_type"), [(50, True), (51, False), (2000, False)])
def test_what_is_nested_too_deeply_has_no_type(levels: int, has_type: bool) -> None:
    value: Any = 1
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    assert (infer_type([value]) is not None) == has_type
