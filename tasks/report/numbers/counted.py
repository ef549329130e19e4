"""Numbers of many rows as the different ones and how often each occurs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]
Counts = NDArray[np.integer[Any]]

_NUMBERS_AT_A_TIME = 1 << 16


@dataclass(frozen=True)
class Counted:
    """Different numbers, ascending and none NaN, and how often each occurs, at least once."""

    values: Values
    counts: Counts

    @classmethod
    def of(cls, values: Values) -> Self:
        """Count numbers, of which none is NaN."""
        in_order = np.sort(values)
        is_last = np.ones(len(in_order), np.bool_)
        np.not_equal(in_order[1:], in_order[:-1], out=is_last[:-1])
        ends = np.flatnonzero(is_last)
        return cls(in_order[is_last], np.diff(ends, prepend=-1))

    @classmethod
    def of_counts(cls, counts: Mapping[int, int]) -> Self:
        """Return numbers that are counted."""
        values = sorted(counts)
        return cls(
            np.array(values, np.float64), np.array([counts[one] for one in values], np.int64)
        )

    def __add__(self, other: Counted) -> Counted:
        """Return the numbers of both."""
        values, places = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, places, np.concatenate([self.counts, other.counts]))
        return Counted(values, counts)

    @cached_property
    def size(self) -> int:
        """How many numbers there are."""
        return int(self.counts.sum())

    @property
    def low(self) -> float:
        """The least; there must be one."""
        return float(self.values[0])

    @property
    def high(self) -> float:
        """The greatest; there must be one."""
        return float(self.values[-1])

    def quantiles(self, *shares: float) -> list[float]:
        """Return what `np.quantile` returns of at least one number; shares are 0 to 1."""
        ends = np.cumsum(self.counts)
        found = []
        for share in shares:
            place = share * (self.size - 1)
            first = math.floor(place)
            around = [first, min(first + 1, self.size - 1)]
            two = self.values[np.searchsorted(ends, around, "right")].astype(np.float64)
            found.append(float(np.quantile(two, place - first)))
        return found

    def split(self) -> Iterator[tuple[NDArray[np.float64], Counts]]:
        """Yield the different numbers, some at a time, and how often each occurs."""
        for start in range(0, len(self.values), _NUMBERS_AT_A_TIME):
            some = slice(start, start + _NUMBERS_AT_A_TIME)
            yield self.values[some].astype(np.float64), self.counts[some]

    def sum_up_to(self, most: float) -> float:
        """Return the sum of all numbers, of which those above `most` count as `most`."""
        return sum(float(np.minimum(some, most) @ counts) for some, counts in self.split())

    def count(self, value: float) -> int:
        """Return how often a number occurs."""
        return int(self.counts[self.values == value].sum())


def find_least(values: Values, most: int) -> Sequence[int]:
    """Return the places of the least numbers, in order, at most `most`; equal ones by place.

    NaN does not count.
    """
    count = min(most, len(values) - int(np.count_nonzero(np.isnan(values))))
    if count <= 0:
        return []
    limit = np.partition(values, count - 1)[count - 1]
    below, equal = np.flatnonzero(values < limit), np.flatnonzero(values == limit)
    order = np.argsort(values[below], kind="stable")
    return [*below[order].tolist(), *equal[: count - len(below)].tolist()]
