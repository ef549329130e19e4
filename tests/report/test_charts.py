from __future__ import annotations

import itertools
import math
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.report.charts import (
    MOST_BINS,
    MOST_COLUMNS,
    Bins,
    Tick,
    as_text,
    columns,
    histogram,
    make_bins,
    nice_step,
    staircase,
    ticks,
)
from tasks.report.formatting import duration
from tasks.report.numbers.counted import Counted
from tasks.report.timeline import Span, draw_timeline, stack
from tasks.runs.journal import ShardHistory
from tasks.runs.record import StageStart

NUMBERS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1)
LENGTHS = st.lists(st.integers(0, 100_000), min_size=1)
SPANS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 8)).map(
        lambda pair: Span(pair[0], sum(pair), f"{pair}", "shard")
    )
)


def as_values(numbers: list[float] | list[int]) -> Counted:
    return Counted.of(np.array(numbers, dtype=np.float64))


def is_in(value: float, place: int, bins: Bins) -> bool:
    """The reference: compare with the two edges of the bin, to a billionth of its width."""
    margin = bins.step * 1e-6
    low, high = bins.first + place * bins.step, bins.first + (place + 1) * bins.step
    is_first, is_last = place == 0, place == bins.count - 1
    return (is_first or low - margin <= value) and (is_last or value <= high + margin)


@given(NUMBERS)
def test_every_value_is_counted_in_the_bin_it_lies_in(numbers: list[float]) -> None:
    values = as_values(numbers)
    bins = make_bins(values)
    assert 1 <= bins.count <= MOST_BINS + 1
    assert sum(bins.count_in(values)) == len(numbers)
    for number in numbers:
        counts = bins.count_in(as_values([number]))
        assert is_in(number, counts.index(1), bins)


@given(LENGTHS)
def test_a_bin_of_whole_numbers_is_named_by_what_it_holds(numbers: list[int]) -> None:
    values = as_values(numbers)
    bins = make_bins(values, is_whole=True)
    names = bins.labels(values)
    for number in numbers:
        name = names[bins.count_in(as_values([number])).index(1)].replace(",", "")
        low, high = (
            (0, int(name.split()[0]))
            if name.endswith("or less")
            else (int(name.split()[0]), math.inf)
            if name.endswith("or more")
            else (int(name.split(" to ")[0]), int(name.split(" to ")[-1]))
        )
        assert low <= number <= high


def test_a_few_values_far_out_leave_the_others_their_bins() -> None:
    values = as_values([*range(1000), 1_000_000])
    bins = make_bins(values, is_whole=True)
    counts, names = bins.count_in(values), bins.labels(values)
    assert bins.count > 15
    assert names[-1] == "950 or more"
    assert counts[-1] == 51
    assert names[1] == "50 to 99"


@given(span=st.floats(1e-6, 1e9), most=st.integers(1, 30))
def test_a_step_is_round_and_the_smallest_that_is_enough(span: float, most: int) -> None:
    step = nice_step(span, most)
    digits = f"{step:e}".partition("e")[0]
    assert float(digits) in (1.0, 2.0, 5.0)
    assert step * most >= span * (1 - 1e-9)
    assert step * most <= span * 2.5 * (1 + 1e-9)


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), most=st.integers(1, 10))
def test_ticks_lie_inside_and_are_told_apart(low: float, span: float, most: int) -> None:
    marks, step = ticks(low, low + span, most)
    assert len(marks) <= most + 1
    assert all(low - step * 1e-6 <= mark <= low + span + step * 1e-6 for mark in marks)
    texts = [as_text(mark, step) for mark in marks]
    assert len(set(texts)) == len(texts)
    numbers = [float(text.replace("−", "-").replace(",", "")) for text in texts]
    np.testing.assert_allclose(numbers, marks, atol=step * 1e-6)


def test_numbers_are_written_as_people_do() -> None:
    texts = [as_text(-0.0, 0.5), as_text(-1250.0, 50.0), as_text(0.3, 0.1), as_text(-0.05, 0.01)]
    assert texts == ["0.0", "−1,250", "0.3", "−0.05"]
    times = [duration(one) for one in (0.314, 9.95, 75.2, 3599.6, 7500)]
    times = [one.replace("\u202f", " ") for one in times]
    assert times == ["0.31 s", "9.9 s", "1 min 15 s", "1 h 00 min", "2 h 05 min"]


@given(NUMBERS, NUMBERS)
def test_bars_and_the_line_are_as_high_as_their_counts(
    numbers: list[float], others: list[float]
) -> None:
    values, behind = as_values(numbers), as_values(others)
    bins = make_bins(values + behind)
    chart = histogram(values, bins, "score", behind)
    counts, counts_behind = bins.count_in(values), bins.count_in(behind)
    top = max(*counts, *counts_behind)
    for bar, count, count_behind in zip(chart.bars, counts, counts_behind, strict=True):
        assert bar.title.endswith(f" score: {count:,} (references: {count_behind:,})")
        smallest = 2.0 if count else 0.0  # a bar must be visible
        assert math.isclose(bar.height, max(smallest, 100 * count / top), abs_tol=0.006)
    heights = [100 - float(one) for one in re.findall(r"V([\d.]+)", chart.line)]
    expected = [100 * count / top for count in counts_behind]
    np.testing.assert_allclose(heights, [*expected, 0.0], atol=0.006)


def test_columns_leave_gaps_for_what_there_is_not() -> None:
    chart = columns({1: 5.0, 3: 2.5}, {1: "one", 3: "three"}, 4)
    found = [(bar.x, bar.width, bar.height, bar.title) for bar in chart.bars]
    assert found == [(25.0, 25.0, 100.0, "one"), (75.0, 25.0, 50.0, "three")]
    assert [(tick.at, tick.text) for tick in chart.x_ticks] == [
        *((12.5, "0"), (37.5, "1"), (62.5, "2"), (87.5, "3"))
    ]


def test_of_very_many_columns_evenly_spaced_ones_are_drawn() -> None:
    count = 20 * MOST_COLUMNS
    heights = {at: float(at) for at in range(count // 2)}  # the others were not made
    chart = columns(heights, {at: f"shard {at}" for at in heights}, count)
    shown = [bar.title for bar in chart.bars]
    assert shown == [f"shard {at}" for at in range(0, count // 2, 20)]
    assert max(bar.x + bar.width for bar in chart.bars) <= 50


def test_a_staircase_rises_at_each_point_to_the_whole() -> None:
    chart = staircase([(1.0, 10), (2.0, 15), (4.0, 20)], "s")
    assert chart.line == "M0 100 H25.0 V50.0 H50.0 V25.0 H100.0 V0.0"
    assert chart.grid == [Tick(50.0, "10"), Tick(0.0, "20")]
    assert [tick.text for tick in chart.x_ticks] == ["0 s", "1 s", "2 s", "3 s", "4 s"]


@given(SPANS)
def test_stacked_spans_never_overlap_in_as_few_rows_as_there_can_be(spans: list[Span]) -> None:
    rows = stack(spans)
    assert sorted((span for row in rows for span in row), key=repr) == sorted(spans, key=repr)
    for row in rows:
        assert all(one.end <= after.start for one, after in itertools.pairwise(row))
    at_once = (sum(one.start <= at < one.end for one in spans) for at in range(30))
    assert len(rows) == max(at_once)


def test_a_timeline_has_a_lane_for_each_stage_and_each_worker() -> None:
    seconds = {"export": 2.0, "predict": 8.0}
    stages = {
        "export": StageStart(started=0.0, reused=True),
        "predict": StageStart(started=2.0),
    }
    shards = {
        0: ShardHistory("made", 1, device="cpu", seconds=3.0, at=5.0),
        1: ShardHistory("made", 2, device="cpu", seconds=4.0, at=6.0, failed_at=(4.0,)),
        2: ShardHistory("made", 1, device="cpu", seconds=5.0, at=10.0),
        3: ShardHistory("reused"),
    }
    timeline = draw_timeline(seconds, stages, shards)
    assert timeline.seconds == 10.0
    assert timeline.has_starts
    assert timeline.has_failures
    found = [
        (lane.name, lane.note, [(one.x, one.width, one.kind) for one in lane.blocks])
        for lane in timeline.lanes
    ]
    assert found == [
        ("export", "reused", [(0.0, 20.0, "stage")]),
        ("predict", "8.0\u202fs", [(20.0, 80.0, "stage"), (40.0, 0.4, "failure")]),
        ("cpu", "2 shards", [(20.0, 30.0, "shard"), (50.0, 50.0, "shard")]),
        ("cpu", "1 shard", [(20.0, 40.0, "shard")]),
    ]


def test_stages_that_nobody_noted_begin_at_the_left() -> None:
    shards = {0: ShardHistory("made", 1, device="cpu", seconds=3.0)}
    timeline = draw_timeline({"export": 2.0, "predict": 8.0}, {}, shards)
    assert not timeline.has_starts
    found = [(lane.name, lane.blocks[0].x, lane.blocks[0].width) for lane in timeline.lanes]
    assert found == [("export", 0.0, 25.0), ("predict", 0.0, 100.0)]
