"""The charts of the page and their captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from tasks.report import charts
from tasks.report.charts import PERCENT_BINS, Chart, Values, make_bins
from tasks.report.formatting import count, decimal, percent, time_unit
from tasks.report.rows import RowValues
from tasks.runs.journal import ShardHistory

Shards = Mapping[int, ShardHistory]


@dataclass(frozen=True)
class Figure:
    """A chart with its title and caption; without a chart, the caption says why there is none.

    `line` is the legend of the line in a chart that also has bars.
    """

    title: str
    caption: str
    chart: Chart | None = None
    line: str | None = None


def draw_distributions(values: RowValues) -> list[Figure]:
    """Return the distributions of scores and lengths."""
    if not values.scores.size:
        return [Figure("Scores and lengths", "There are no questions to draw.")]
    return [
        _draw_scores(values),
        _draw_bleus(values),
        _draw_questions(values),
        _draw_passages(values),
    ]


def draw_speed(shards: Shards, planned: int, predict_started: float) -> list[Figure]:
    """Return the throughput over time and per shard; empty if the run made no shard.

    Args:
        shards: the history of each shard, by number.
        planned: the number of shards.
        predict_started: seconds from the start of the run to the start of the predict stage.
    """
    made = {index: shard for index, shard in shards.items() if shard.state == "made"}
    return [_draw_progress(made, predict_started), _draw_rates(made, planned)] if made else []


def rate(shard: ShardHistory) -> float | None:
    """Return the rows per second of a shard; None if the run did not make it."""
    if shard.state != "made" or shard.seconds is None:
        return None
    return rows_of(shard) / max(shard.seconds, 0.001)


def rows_of(shard: ShardHistory) -> int:
    """Return the rows of a shard, including those that predict rejected."""
    return (shard.rows or 0) + (shard.rejects or 0)


def _draw_scores(values: RowValues) -> Figure:
    if not values.has_scores:
        return Figure("Score", "The engine does not return scores.")
    scores = values.scores[np.isfinite(values.scores)]
    if not scores.size:
        return Figure("Score", "No score is a finite number.")
    chart = charts.histogram(scores, make_bins(scores), "score")
    text = f"Rows by the score that the search gave their question: {_spread(scores, 3)}."
    others = values.scores.size - scores.size
    return Figure("Score", text + (f" {count(others)} more are infinite." if others else ""), chart)


def _draw_bleus(values: RowValues) -> Figure:
    title, bleus = "BLEU of each question", _numbers(values.bleus)
    if not bleus.size:
        return Figure(title, "The passages have no reference questions to compare with.")
    references = _numbers(values.references).size
    rows = "Rows" if bleus.size == references else f"{count(bleus.size)} evenly spaced rows"
    text = (
        f"{rows} by the BLEU of their question, 0 to 100: {_spread(bleus, 1)}. Of all questions, "
        f"{count(values.identical)} ({percent(values.identical / references)}) equal the reference."
    )
    return Figure(title, text, charts.histogram(bleus, PERCENT_BINS, "BLEU"))


def _draw_questions(values: RowValues) -> Figure:
    ours, references = values.questions, _numbers(values.references)
    others = references if references.size else None
    bins = make_bins(np.concatenate([ours, references]), is_whole=True)
    text = f"Rows by the length of their question in characters: {_spread(ours)}."
    if others is not None:
        text += f" Of the references: {_spread(references)}."
    chart = charts.histogram(ours, bins, "characters", others)
    return Figure("Question length", text, chart, None if others is None else "references")


def _draw_passages(values: RowValues) -> Figure:
    lengths = values.passages
    chart = charts.histogram(lengths, make_bins(lengths, is_whole=True), "characters")
    text = f"Rows by the length of their passage in characters: {_spread(lengths)}."
    return Figure("Passage length", text, chart)


def _draw_progress(made: Shards, predict_started: float) -> Figure:
    title = "Throughput over time"
    done = sorted((one.at, rows_of(one)) for one in made.values() if one.at is not None)
    if len(done) < len(made):
        return Figure(title, "The journal of this run does not contain times.")
    totals = accumulate(rows for _, rows in done)
    times = [max(0.0, at - predict_started) for at, _ in done]
    divisor, unit = time_unit(times[-1])
    points = [(at / divisor, total) for at, total in zip(times, totals, strict=True)]
    text = (
        "Rows made since the start of the predict stage; steeper is faster. "
        "Rows count when their shard is done, so each step is a shard."
    )
    return Figure(title, text, charts.staircase(points, unit))


def _draw_rates(made: Shards, planned: int) -> Figure:
    rates = {index: speed for index, one in made.items() if (speed := rate(one)) is not None}
    titles = {
        index: f"shard {index}: {decimal(speed)} rows/s, {count(rows_of(made[index]))} rows "
        f"in {decimal(made[index].seconds or 0, 1)} s on {made[index].device}"
        for index, speed in rates.items()
    }
    text = "Rows per second of each shard, by number. A worker's first shard includes its start."
    if len(made) < planned:
        text += " Gaps are shards that this run did not make."
    return Figure("Throughput per shard", text, charts.columns(rates, titles, planned))


def _spread(values: Values, digits: int = 0) -> str:
    low, middle, high = (decimal(one, digits) for one in np.quantile(values, (0.05, 0.5, 0.95)))
    return f"median {middle}, nine in ten between {low} and {high}"


def _numbers(values: Values) -> Values:
    return values[~np.isnan(values)]
