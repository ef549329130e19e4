"""The charts of the page and their captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from tasks.report import charts
from tasks.report.charts import PERCENT_BINS, Chart, make_bins
from tasks.report.formatting import count, decimal, percent, time_unit
from tasks.report.languages.texts import ENGLISH, Texts
from tasks.report.numbers.counted import Counted
from tasks.report.rows import RowValues
from tasks.runs.journal import ShardHistory
from tasks.store.tables import spaced

Shards = Mapping[int, ShardHistory]

MOST_POINTS = 1000  # of a line


@dataclass(frozen=True)
class Figure:
    """A chart with its title and caption; without a chart, the caption says why there is none.

    `line` is the legend of the line in a chart that also has bars.
    """

    title: str
    caption: str
    chart: Chart | None = None
    line: str | None = None


def draw_distributions(values: RowValues, texts: Texts = ENGLISH) -> list[Figure]:
    """Return the distributions of scores and lengths."""
    if not values.scores.size:
        title = texts("Scores and lengths")
        return [Figure(title, texts("There are no questions to draw."))]
    return [
        _draw_scores(values, texts),
        _draw_bleus(values, texts),
        _draw_questions(values, texts),
        _draw_passages(values, texts),
    ]


def draw_speed(
    shards: Shards, planned: int, predict_started: float, texts: Texts = ENGLISH
) -> list[Figure]:
    """Return the throughput over time and per shard; empty if the run made no shard.

    Args:
        shards: the history of each shard, by number.
        planned: the number of shards.
        predict_started: seconds from the start of the run to the start of the predict stage.
        texts: those of the figures.
    """
    made = {index: shard for index, shard in shards.items() if shard.state == "made"}
    if not made:
        return []
    return [_draw_progress(made, predict_started, texts), _draw_rates(made, planned, texts)]


def rate(shard: ShardHistory) -> float | None:
    """Return the rows per second of a shard; None if the run did not make it."""
    if shard.state != "made" or shard.seconds is None:
        return None
    return rows_of(shard) / max(shard.seconds, 0.001)


def rows_of(shard: ShardHistory) -> int:
    """Return the rows of a shard, including those that predict rejected."""
    return (shard.rows or 0) + (shard.rejects or 0)


def _draw_scores(values: RowValues, texts: Texts) -> Figure:
    title = texts("Score")
    if not values.has_scores:
        return Figure(title, texts("The engine does not return scores."))
    scores = Counted.of(values.scores[np.isfinite(values.scores)])
    if not scores.size:
        return Figure(title, texts("No score is a finite number."))
    chart = charts.histogram(scores, make_bins(scores), texts("score"), texts=texts)
    spread = _spread(scores, 3, texts)
    text = texts(
        "Rows by the score that the search gave their question: %(spread)s.", spread=spread
    )
    if others := values.scores.size - scores.size:
        text += texts(" %(count)s more are infinite.", count=count(others))
    return Figure(title, text, chart)


def _draw_bleus(values: RowValues, texts: Texts) -> Figure:
    title = texts("BLEU of each question")
    bleus = Counted.of(np.array([*values.bleus.values()], np.float64))
    if not bleus.size:
        return Figure(title, texts("The passages have no reference questions to compare with."))
    references = values.references.size
    rows = texts("Rows")
    if bleus.size != references:
        rows = texts("%(count)s evenly spaced rows", count=count(bleus.size))
    text = texts(
        "%(rows)s by the BLEU of their question, 0 to 100: %(spread)s. Of all questions, "
        "%(identical)s (%(share)s) are the reference, character for character.",
        rows=rows,
        spread=_spread(bleus, 1, texts),
        identical=count(values.identical),
        share=percent(values.identical / references),
    )
    return Figure(title, text, charts.histogram(bleus, PERCENT_BINS, "BLEU", texts=texts))


def _draw_questions(values: RowValues, texts: Texts) -> Figure:
    ours, references = values.questions, values.references
    others = references if references.size else None
    bins = make_bins(ours + references, is_whole=True)
    text = texts(
        "Rows by the length of their question in characters: %(spread)s.",
        spread=_spread(ours, 0, texts),
    )
    if others is not None:
        text += texts(" Of the references: %(spread)s.", spread=_spread(references, 0, texts))
    chart = charts.histogram(ours, bins, texts("characters"), others, texts)
    line = None if others is None else texts("references")
    return Figure(texts("Question length"), text, chart, line)


def _draw_passages(values: RowValues, texts: Texts) -> Figure:
    lengths = values.passages
    bins = make_bins(lengths, is_whole=True)
    chart = charts.histogram(lengths, bins, texts("characters"), texts=texts)
    text = texts(
        "Rows by the length of their passage in characters: %(spread)s.",
        spread=_spread(lengths, 0, texts),
    )
    return Figure(texts("Passage length"), text, chart)


def _draw_progress(made: Shards, predict_started: float, texts: Texts) -> Figure:
    title = texts("Throughput over time")
    done = sorted((one.at, rows_of(one)) for one in made.values() if one.at is not None)
    if len(done) < len(made):
        return Figure(title, texts("The journal of this run does not contain times."))
    totals = accumulate(rows for _, rows in done)
    times = [max(0.0, at - predict_started) for at, _ in done]
    divisor, unit = time_unit(times[-1])
    points = [(at / divisor, total) for at, total in zip(times, totals, strict=True)]
    last = len(points) - 1
    points = [points[last - place] for place in reversed(spaced(len(points), MOST_POINTS))]
    text = texts(
        "Rows made since the start of the predict stage; steeper is faster. "
        "Rows count when their shard is done, so each step is a shard."
    )
    return Figure(title, text, charts.staircase(points, unit))


def _draw_rates(made: Shards, planned: int, texts: Texts) -> Figure:
    rates = {index: speed for index, one in made.items() if (speed := rate(one)) is not None}
    titles = {
        index: texts(
            "shard %(number)s: %(speed)s rows/s, %(rows)s rows in %(seconds)s s on %(device)s",
            number=index,
            speed=decimal(speed),
            rows=count(rows_of(made[index])),
            seconds=decimal(made[index].seconds or 0, 1),
            device=made[index].device,
        )
        for index, speed in rates.items()
    }
    text = texts(
        "Rows per second of each shard, by number. A worker's first shard includes its start."
    )
    if len(made) < planned:
        text += texts(" Gaps are shards that this run did not make.")
    if planned > charts.MOST_COLUMNS:
        most = count(charts.MOST_COLUMNS)
        text += texts(" %(most)s evenly spaced ones are shown.", most=most)
    return Figure(texts("Throughput per shard"), text, charts.columns(rates, titles, planned))


def _spread(values: Counted, digits: int, texts: Texts) -> str:
    low, middle, high = (decimal(one, digits) for one in values.quantiles(0.05, 0.5, 0.95))
    numbers = {"low": low, "middle": middle, "high": high}
    return texts("median %(middle)s, nine in ten between %(low)s and %(high)s", **numbers)
