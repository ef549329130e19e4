"""Counted numbers answer as NumPy does of all of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.report.numbers import counted
from tasks.report.numbers.counted import Counted, find_least

NUMBERS = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-5, 5).map(float)
)
WITH_OTHERS = st.lists(st.floats(width=32) | st.integers(-3, 3).map(float))
SHARES = (0.0, 0.005, 0.05, 0.5, 0.95, 1.0)


@given(NUMBERS.filter(bool))
def test_quantiles_are_those_of_numpy(numbers: list[float]) -> None:
    values = Counted.of(np.array(numbers, np.float32))
    assert values.quantiles(*SHARES) == np.quantile(np.array(numbers), SHARES).tolist()
    assert (values.low, values.high) == (min(numbers), max(numbers))


@given(NUMBERS, NUMBERS)
def test_numbers_are_counted_and_added(some: list[float], others: list[float]) -> None:
    both = Counted.of(np.array(some)) + Counted.of(np.array(others))
    expected = sorted(Counter([*some, *others]).items())
    assert list(zip(both.values.tolist(), both.counts.tolist(), strict=True)) == expected
    assert both.size == len(some) + len(others)
    assert both.count(0.0) == [*some, *others].count(0.0)


@given(st.lists(st.integers(0, 5000)), st.integers(1, 3))
def test_counts_are_the_numbers_in_pieces_of_any_size(numbers: list[int], size: int) -> None:
    values = Counted.of_counts(Counter(numbers))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counted, "_NUMBERS_AT_A_TIME", size)
        assert values.sum_up_to(2000) == sum(min(number, 2000) for number in numbers)
        pairs = [pair for piece in values.split() for pair in zip(*piece, strict=True)]
    assert pairs == sorted(Counter(numbers).items())


@given(WITH_OTHERS, st.integers(1, 12))
def test_the_least_are_in_order_and_equal_ones_by_place(numbers: list[float], most: int) -> None:
    places = [at for at, number in enumerate(numbers) if number == number]  # no NaN
    expected = sorted(places, key=lambda at: (numbers[at], at))[:most]
    assert find_least(np.array(numbers, np.float32), most) == expected
