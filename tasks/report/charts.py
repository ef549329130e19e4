"""The geometry of the charts, without a word of SVG.

Everything is in percent of the plot, x from its left edge and y from its upper one, so that a chart
can be of any width; texts are placed, never scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.report.bins import Bins, Values, as_text, ticks

SMALLEST_BAR = 1.0  # percent: what occurs once is seen beside what occurs a thousand times
MOST_TICKS = 5
MOST_LINES = 3  # of the grid


@dataclass(frozen=True)
class Tick:
    """A text at an axis; `anchor` is SVG's text-anchor."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Bar:
    """A bar, and what is said of it when it is pointed at."""

    x: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Chart:
    """Bars, and perhaps a line: the `d` of an SVG path. `grid` has the ticks of the y axis."""

    x_ticks: list[Tick]
    grid: list[Tick]
    bars: Sequence[Bar] = ()
    line: str = ""


def histogram(values: Values, bins: Bins, unit: str, others: Values | None = None) -> Chart:
    """Draw how often values occur as bars, and how often `others` do as a line.

    Args:
        values: what the bars count.
        bins: of both.
        unit: what the values are, for the bars' titles.
        others: as many as there may be; None draws no line.
    """
    counts, names = bins.count_in(values), bins.names(values, others)
    behind = None if others is None else bins.count_in(others)
    top, width = max(1, *counts, *(behind or ())), 100 / bins.count
    bars = [
        Bar(
            x=_rounded(at * width),
            width=_rounded(width),
            height=_height(count, top),
            title=f"{names[at]} {unit}: {count:,}"
            + (f" (references: {behind[at]:,})" if behind else ""),
        )
        for at, count in enumerate(counts)
    ]
    return Chart(_bin_ticks(bins), grid(top), bars, _skyline(behind, top) if behind else "")


def columns(heights: Mapping[int, float], titles: Mapping[int, str], count: int) -> Chart:
    """Draw a bar for some of `count` numbered things; the others are gaps."""
    top, width = max(heights.values()), 100 / count
    bars = [
        Bar(_rounded(at * width), _rounded(width), _height(height, top), titles[at])
        for at, height in heights.items()
    ]
    return Chart(_bin_ticks(Bins(0.0, 1.0, count, is_whole=True)), grid(top, is_whole=False), bars)


def staircase(points: Sequence[tuple[float, float]], unit: str) -> Chart:
    """Draw a total that rises at each point (seconds, total), from 0 at 0 on."""
    right, top = points[-1]
    path = ["M0 100"]
    for seconds, total in points:
        path += [f"H{_percent(seconds, right)}", f"V{_rounded(100 - _percent(total, top))}"]
    return Chart(time_ticks(right, unit), grid(top), line=" ".join(path))


def time_ticks(total: float, unit: str) -> list[Tick]:
    """Give the texts of an axis of time from 0 to `total`."""
    marks, step = ticks(0.0, total, MOST_TICKS)
    return [_tick(_percent(at, total), f"{as_text(at, step)} {unit}") for at in marks]


def grid(top: float, is_whole: bool = True) -> list[Tick]:
    """Give the ticks of a y axis from 0 to `top`, without the 0."""
    marks, step = ticks(0.0, top, MOST_LINES, is_whole)
    return [Tick(_rounded(100 - _percent(at, top)), as_text(at, step)) for at in marks if at > 0]


def _bin_ticks(bins: Bins) -> list[Tick]:
    is_each_one = bins.is_whole and bins.step == 1  # then its number stands below its middle
    shift, end = (0.5, bins.last - 1) if is_each_one else (0.0, bins.last)
    marks, step = ticks(bins.first, end, MOST_TICKS, bins.is_whole)
    span = bins.last - bins.first
    return [_tick(_percent(at + shift - bins.first, span), as_text(at, step)) for at in marks]


def _tick(at: float, text: str) -> Tick:
    """Keep the text of a tick near an end of the axis inside the chart."""
    return Tick(at, text, "start" if at < 4 else "end" if at > 96 else "middle")


def _skyline(counts: Sequence[int], top: int) -> str:
    """Give the path along the tops of bars."""
    path = ["M0 100"]
    for at, count in enumerate(counts, 1):
        path += [f"V{_rounded(100 - _percent(count, top))}", f"H{_percent(at, len(counts))}"]
    return " ".join([*path, "V100"])


def _height(value: float, top: float) -> float:
    return max(SMALLEST_BAR, _percent(value, top)) if value > 0 else 0.0


def _percent(part: float, whole: float) -> float:
    return _rounded(100 * part / whole) if whole > 0 else 0.0


def _rounded(percent: float) -> float:
    return round(percent, 2)
