"""Round numbers: the bins of a histogram and the ticks of an axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

MOST_BINS = 24
TAIL = 0.005  # share of the values on either side that may lie outside of the bins


@dataclass(frozen=True)
class Bins:
    """`count` bins, each `step` wide, from `first` on; of whole numbers only, if `is_whole`.

    What lies below the first or above the last bin is counted in it.
    """

    first: float
    step: float
    count: int
    is_whole: bool = False

    @property
    def last(self) -> float:
        """Where the last bin ends."""
        return self.first + self.step * self.count

    def count_in(self, values: Values) -> list[int]:
        """Give the number of values in each bin."""
        # A little to the right, for values on an edge that a float cannot hold.
        places = np.floor((values - self.first) / self.step + 1e-9)
        inside = np.clip(places, 0, self.count - 1).astype(int)
        counts: list[int] = np.bincount(inside, minlength=self.count).tolist()
        return counts

    def names(self, *counted: Values | None) -> list[str]:
        """Say what is in each bin when these values are counted in them."""
        values = np.concatenate([one for one in counted if one is not None])
        names = [self._name(self.first + place * self.step) for place in range(self.count)]
        if values.size and values.min() < self.first:
            names[0] = f"{as_text(self._end(self.first), self.step)} or less"
        if values.size and values.max() > self.last:
            names[-1] = f"{as_text(self.last - self.step, self.step)} or more"
        return names

    def _name(self, start: float) -> str:
        low, high = as_text(start, self.step), as_text(self._end(start), self.step)
        return low if low == high else f"{low} to {high}"

    def _end(self, start: float) -> float:
        return start + self.step - (1 if self.is_whole else 0)


PERCENT_BINS = Bins(0.0, 5.0, 20)


def make_bins(values: Values, is_whole: bool = False) -> Bins:
    """Give bins of a round width for values, of which there is at least one.

    A few values far out would leave one bar to all the others: then the bins cover these, and the
    outermost count what lies beyond.
    """
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = (float(one) for one in np.quantile(values, (TAIL, 1 - TAIL)))
    if inner_low < inner_high < inner_low + (high - low) / 2:
        low, high = inner_low, inner_high
    step = nice_step(high - low, MOST_BINS - 1)
    if is_whole:
        step = max(1.0, step)
    first = math.floor(low / step + 1e-9)
    return Bins(first * step, step, math.floor(high / step + 1e-9) - first + 1, is_whole)


def nice_step(span: float, most: int) -> float:
    """Give the smallest of 1, 2 and 5 times a power of ten of which `most` reach over `span`."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if span <= most * factor * power)


def ticks(low: float, high: float, most: int, is_whole: bool = False) -> tuple[list[float], float]:
    """Give round numbers between two, `most` + 1 of them at most, and the step between them."""
    step = nice_step(high - low, most)
    if is_whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)], step


def as_text(number: float, step: float) -> str:
    """Give a number with as many digits as the step of an axis needs."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{round(number, digits) + 0.0:,.{digits}f}".replace("-", "−")
