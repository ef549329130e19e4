"""The charts of the trend: a bar for each run, and a line where something was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from tasks.quality.flags import FLAGS
from tasks.report import charts
from tasks.report.charts import Chart, Tick
from tasks.report.figures import Figure
from tasks.report.formatting import count, decimal, duration, percent, price
from tasks.report.languages.texts import Texts
from tasks.report.trend.history import RunFigures, list_groups
from tasks.store.tables import spaced

MOST_TICKS = 4
MOST_GROUPS = 12
KINDS = {"suspect": "suspect", "failed": "suspect", "partial": "suspect"}
"""The classes of bars, by the state of their run."""


@dataclass(frozen=True)
class _Measure:
    """What a chart shows: the value of a run, in the unit of the axis, and how it is told."""

    title: str
    caption: str
    value: Callable[[RunFigures], float | None]
    show: Callable[[float], str]


def draw_trend(history: Sequence[RunFigures], texts: Texts) -> list[Figure]:
    """Return a chart for each measure that any run has, and that is not zero in all of them."""
    return _draw_all(_measures(texts), history, texts)


def draw_groups(history: Sequence[RunFigures], texts: Texts) -> list[Figure]:
    """Return a chart for each of the largest groups of the newest run that has flagged questions.

    A group is left out if none of its questions was flagged in any run.
    """
    text = texts("Percent of the questions of this group that have any flag.")
    measures = (
        _Measure(group, text, partial(_of_group, group), _show_percent)
        for group in list_groups(history, MOST_GROUPS)
    )
    return _draw_all(measures, history, texts)


def _draw_all(
    measures: Iterator[_Measure], history: Sequence[RunFigures], texts: Texts
) -> list[Figure]:
    drawn = (_draw(measure, history, texts) for measure in measures)
    return [figure for figure in drawn if figure is not None]


def _measures(texts: Texts) -> Iterator[_Measure]:
    yield _Measure(
        texts("Flagged questions"),
        texts("Percent of the questions that have any flag."),
        lambda run: _percent(run.flagged_share),
        _show_percent,
    )
    for flag in FLAGS:
        yield _Measure(
            flag,
            texts("Percent of the questions with this flag."),
            partial(_flag, flag),
            _show_percent,
        )
    yield _Measure(
        texts("Rejects"),
        texts("Percent of the rows that could not be used."),
        lambda run: _percent(run.reject_share),
        _show_percent,
    )
    yield _Measure(
        texts("Score per token, without its minus sign"),
        texts("The mean; lower is better. It is comparable within one model and config."),
        lambda run: None if run.score_per_token is None else abs(run.score_per_token),
        partial(decimal, digits=4),
    )
    for name, title in (
        ("bleu_4", "BLEU-4"),
        ("rouge_l", "ROUGE-L"),
        ("exact_match", texts("exact match")),
    ):
        text = texts("Of 100, against the reference questions.")
        yield _Measure(title, text, partial(_of, name), decimal)
    text = texts("Those with a question and those without.")
    yield _Measure(texts("Rows of the input"), text, partial(_of, "rows_in"), count)
    text = texts("Rows that the run generated; the others were reused.")
    yield _Measure(texts("Generated rows"), text, partial(_of, "rows_made"), count)
    text = texts("From the start of the run to its end.")
    yield _Measure(texts("Seconds"), text, lambda run: run.state.seconds, duration)
    text = texts("At the price of a device hour when it ran.")
    yield _Measure(texts("Cost"), text, partial(_of, "cost"), price)


def _draw(measure: _Measure, history: Sequence[RunFigures], texts: Texts) -> Figure | None:
    found = ((at, measure.value(run)) for at, run in enumerate(history))
    heights = {at: value for at, value in found if value is not None}
    if not any(heights.values()):
        return None
    titles = {
        at: f"{history[at].state.run_id} ({texts(history[at].state.state)}): {measure.show(value)}"
        for at, value in heights.items()
    }
    chart = charts.columns(heights, titles, len(history))
    return Figure(measure.title, measure.caption, _mark(chart, heights, history))


def _mark(chart: Chart, heights: Mapping[int, float], history: Sequence[RunFigures]) -> Chart:
    """Return a chart of `columns` with days below it, marks of changes, and the kinds of bars."""
    shown = spaced(len(history), charts.MOST_COLUMNS)
    with_bars = [history[at] for at in shown if at in heights]
    bars = [
        replace(bar, kind=KINDS.get(run.state.state, ""))
        for bar, run in zip(chart.bars, with_bars, strict=True)
    ]
    width = 100 / len(shown)
    marks = [round(at * width, 2) for at, place in enumerate(shown) if history[place].changes]
    return replace(chart, bars=bars, marks=marks, x_ticks=_days(history, shown))


def _days(history: Sequence[RunFigures], shown: Sequence[int]) -> list[Tick]:
    """Return the days of some evenly spaced runs as ticks below the middle of their bars."""
    width = 100 / len(shown)
    ticks, before = list[Tick](), ""
    for at in spaced(len(shown), MOST_TICKS):
        when = datetime.fromisoformat(history[shown[at]].state.started).astimezone(UTC)
        day = f"{when:%m-%d}"
        if day != before:
            place = round((at + 0.5) * width, 2)
            anchor = "start" if place < 4 else "end" if place > 96 else "middle"
            ticks.append(Tick(place, day, anchor))
        before = day
    return ticks


def _of(name: str, run: RunFigures) -> float | None:
    value: float | None = getattr(run, name)
    return value


def _of_group(group: str, run: RunFigures) -> float | None:
    return _percent(run.group_share(group))


def _flag(flag: str, run: RunFigures) -> float | None:
    return _percent(run.flag_share(flag))


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _show_percent(value: float) -> str:
    return percent(value / 100)
