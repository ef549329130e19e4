"""The geometry of the charts: bins, ticks, bars and lines; the templates turn it into SVG.

Positions are percentages of the plot area, x from its left edge and y from its top, so that a
chart can have any width while its text keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.report.languages.texts import ENGLISH, Texts
from tasks.report.numbers.counted import Counted
from tasks.store.tables import spaced

MOST_BINS = 24
OUTLIERS = 0.005  # share of the values at either end that may lie outside the bins
MOST_COLUMNS = 500
MOST_TICKS = 5
MOST_GRID_LINES = 3
SMALLEST_BAR = 2.0  # percent, so that a count of 1 is visible beside a count of 1000


@dataclass(frozen=True)
class Bins:
    """`count` bins, each `step` wide, starting at `first`; `is_whole` if all values are integers.

    Values below the first bin or above the last are counted in that bin.
    """

    first: float
    step: float
    count: int
    is_whole: bool = False

    @property
    def last(self) -> float:
        """The end of the last bin."""
        return self.first + self.step * self.count

    def count_in(self, values: Counted) -> list[int]:
        """Return the number of values in each bin."""
        found = np.zeros(self.count, np.int64)
        for some, counts in values.split():
            # The offset corrects rounding errors of values on an edge.
            places = np.floor((some - self.first) / self.step + 1e-9)
            inside = np.clip(places, 0, self.count - 1).astype(int)
            np.add.at(found, inside, counts)
        counted: list[int] = found.tolist()
        return counted

    def labels(self, *counted: Counted | None, texts: Texts = ENGLISH) -> list[str]:
        """Return a label for each bin, for the values that are counted in them."""
        some = [one for one in counted if one is not None and one.size]
        labels = [self._label(self.first + place * self.step, texts) for place in range(self.count)]
        if some and min(one.low for one in some) < self.first:
            end = as_text(self._end(self.first), self.step)
            labels[0] = texts("%(number)s or less", number=end)
        if some and max(one.high for one in some) > self.last:
            start = as_text(self.last - self.step, self.step)
            labels[-1] = texts("%(number)s or more", number=start)
        return labels

    def _label(self, start: float, texts: Texts) -> str:
        low, high = as_text(start, self.step), as_text(self._end(start), self.step)
        return low if low == high else texts("%(low)s to %(high)s", low=low, high=high)

    def _end(self, start: float) -> float:
        return start + self.step - (1 if self.is_whole else 0)


PERCENT_BINS = Bins(0.0, 5.0, 20)


@dataclass(frozen=True)
class Tick:
    """A label of an axis; `at` is in percent of its length, `anchor` is SVG's text-anchor."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Bar:
    """A bar in percent of the plot area, its tooltip, and a class beside `bar`."""

    x: float
    width: float
    height: float
    title: str
    kind: str = ""


@dataclass(frozen=True)
class Chart:
    """Bars, and optionally a line (the `d` of an SVG path). `grid` has the ticks of the y axis.

    `marks` are places on the x axis, in percent.
    """

    x_ticks: list[Tick]
    grid: list[Tick]
    bars: Sequence[Bar] = ()
    line: str = ""
    marks: Sequence[float] = ()


def histogram(
    values: Counted,
    bins: Bins,
    unit: str,
    others: Counted | None = None,
    texts: Texts = ENGLISH,
) -> Chart:
    """Return a histogram of `values` as bars, and of `others` as a line over them.

    Args:
        values: the values of the bars.
        bins: the bins of both.
        unit: the unit of the values, for the tooltips.
        others: the values of the line; None: no line.
        texts: those of the tooltips.
    """
    counts, labels = bins.count_in(values), bins.labels(values, others, texts=texts)
    behind = None if others is None else bins.count_in(others)
    titles = [
        f"{label} {unit}: {count:,}"
        + (texts(" (references: %(count)s)", count=f"{behind[at]:,}") if behind else "")
        for at, (label, count) in enumerate(zip(labels, counts, strict=True))
    ]
    top = max(1, *counts, *(behind or ()))
    bars = _bars(dict(enumerate(counts)), dict(enumerate(titles)), bins.count, top)
    return Chart(_bin_ticks(bins), grid(top), bars, _outline(behind, top) if behind else "")


def columns(heights: Mapping[int, float], titles: Mapping[int, str], count: int) -> Chart:
    """Return a chart with bars for some of `count` numbered items and gaps for the others.

    Of more than `MOST_COLUMNS` items, that many evenly spaced ones are drawn, if they have a bar.
    """
    top = max(heights.values())
    ticks = _bin_ticks(Bins(0.0, 1.0, count, is_whole=True))
    if count > MOST_COLUMNS:
        shown = {place: at for place, at in enumerate(spaced(count, MOST_COLUMNS)) if at in heights}
        titles = {place: titles[at] for place, at in shown.items()}
        heights = {place: heights[at] for place, at in shown.items()}
        count = MOST_COLUMNS
    return Chart(ticks, grid(top, is_whole=False), _bars(heights, titles, count, top))


def staircase(points: Sequence[tuple[float, float]], unit: str) -> Chart:
    """Return a chart of a total that rises from 0 at each point (time in `unit`, total)."""
    right, top = points[-1]
    path = ["M0 100"]
    for time, total in points:
        path += [f"H{_percent(time, right)}", f"V{_rounded(100 - _percent(total, top))}"]
    return Chart(time_ticks(right, unit), grid(top), line=" ".join(path))


def make_bins(values: Counted, is_whole: bool = False) -> Bins:
    """Return bins of a round width for at least one value.

    A few outliers would squeeze all other values into a single bar; then the bins cover only the
    other values, and the outermost bins count the outliers.
    """
    low, high = values.low, values.high
    inner_low, inner_high = values.quantiles(OUTLIERS, 1 - OUTLIERS)
    if inner_low < inner_high < inner_low + (high - low) / 2:
        low, high = inner_low, inner_high
    step = nice_step(high - low, MOST_BINS - 1, is_whole)
    first = math.floor(low / step + 1e-9)
    return Bins(first * step, step, math.floor(high / step + 1e-9) - first + 1, is_whole)


def time_ticks(total: float, unit: str) -> list[Tick]:
    """Return the ticks of a time axis from 0 to `total`, which is in `unit`."""
    marks, step = ticks(0.0, total, MOST_TICKS)
    return [_x_tick(_percent(at, total), f"{as_text(at, step)} {unit}") for at in marks]


def grid(top: float, is_whole: bool = True) -> list[Tick]:
    """Return the ticks of a y axis from 0 to `top`, without the 0."""
    marks, step = ticks(0.0, top, MOST_GRID_LINES, is_whole)
    return [Tick(_rounded(100 - _percent(at, top)), as_text(at, step)) for at in marks if at > 0]


def ticks(low: float, high: float, most: int, is_whole: bool = False) -> tuple[list[float], float]:
    """Return at most `most` + 1 round numbers in [`low`, `high`], and the step between them."""
    step = nice_step(high - low, most, is_whole)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)], step


def nice_step(span: float, most: int, is_whole: bool = False) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that covers `span` in `most` steps.

    It is at least 1 if `is_whole`, and 1 if `span` is not positive.
    """
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if span <= most * factor * power)
    return max(1.0, step) if is_whole else step


def as_text(number: float, step: float) -> str:
    """Return a number with as many decimals as the step of its axis needs."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{round(number, digits) + 0.0:,.{digits}f}".replace("-", "−")


def _bars(
    heights: Mapping[int, float], titles: Mapping[int, str], count: int, top: float
) -> list[Bar]:
    """Return bars at some of `count` places; a bar that is not empty has a visible height."""
    width = 100 / count
    return [
        Bar(
            x=_rounded(at * width),
            width=_rounded(width),
            height=max(SMALLEST_BAR, _percent(height, top)) if height > 0 else 0.0,
            title=titles[at],
        )
        for at, height in heights.items()
    ]


def _bin_ticks(bins: Bins) -> list[Tick]:
    is_each_one = bins.is_whole and bins.step == 1  # then the number is below the bin's middle
    shift, end = (0.5, bins.last - 1) if is_each_one else (0.0, bins.last)
    marks, step = ticks(bins.first, end, MOST_TICKS, bins.is_whole)
    span = bins.last - bins.first
    return [_x_tick(_percent(at + shift - bins.first, span), as_text(at, step)) for at in marks]


def _x_tick(at: float, text: str) -> Tick:
    """Return a tick whose label stays within the chart at both ends."""
    return Tick(at, text, "start" if at < 4 else "end" if at > 96 else "middle")


def _outline(counts: Sequence[int], top: int) -> str:
    """Return the path along the tops of a histogram's bars."""
    path = ["M0 100"]
    for at, count in enumerate(counts, 1):
        path += [f"V{_rounded(100 - _percent(count, top))}", f"H{_percent(at, len(counts))}"]
    return " ".join([*path, "V100"])


def _percent(part: float, whole: float) -> float:
    return _rounded(100 * part / whole) if whole > 0 else 0.0


def _rounded(percent: float) -> float:
    return round(percent, 2)
