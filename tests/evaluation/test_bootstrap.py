from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.evaluation import bootstrap
from tasks.evaluation.bootstrap import Differences, Matrix, compare_paired

STATISTICS = st.integers(1, 12).flatmap(
    lambda rows: arrays(np.float64, (rows, 2), elements=st.floats(0.01, 100))
)


def numbers(found: Differences) -> list[float]:
    """Return the results for a single metric: of a, of b, and the interval."""
    return [float(part[0]) for part in (found.a, found.b, found.low, found.high)]


def ratio(sums: Matrix) -> Matrix:
    """A metric that, like BLEU, is not the mean over the rows."""
    return sums[:, :1] / sums[:, 1:]


def of_rows(values: Matrix) -> Matrix:
    """Return statistics whose ratio is the mean of the values."""
    return np.column_stack([values, np.ones_like(values)])


@given(STATISTICS, st.integers(0, 9))
def test_equal_systems_differ_by_exactly_nothing(statistics: Matrix, seed: int) -> None:
    found = compare_paired(statistics, statistics.copy(), ratio, resamples=50, seed=seed)
    assert found.a == found.b == ratio(statistics.sum(axis=0, keepdims=True))
    assert found.low == found.high == 0


@given(STATISTICS, st.floats(-10, 10))
def test_a_system_that_is_better_by_the_same_in_every_row_is_so_in_every_resample(
    statistics: Matrix, shift: float
) -> None:
    a = of_rows(statistics[:, 0])
    found = compare_paired(a, a + np.array([shift, 0]), ratio, resamples=50)
    for value in (found.b - found.a, found.low, found.high):
        assert value == pytest.approx(shift, abs=1e-9)


def test_the_interval_is_that_of_scores_over_rows_drawn_one_by_one() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.uniform(1, 9, (2, 30, 2))
    drawing = np.random.default_rng(5)
    differences = []
    for _ in range(200):
        rows = drawing.integers(30, size=30)
        scores = [
            sum(run[row, 0] for row in rows) / sum(run[row, 1] for row in rows) for run in (a, b)
        ]
        differences.append(scores[1] - scores[0])
    found = compare_paired(a, b, ratio, resamples=200, seed=5)
    whole = [run[:, 0].sum() / run[:, 1].sum() for run in (a, b)]
    assert numbers(found) == pytest.approx([*whole, *np.quantile(differences, [0.025, 0.975])])


def test_the_same_seed_gives_the_same_interval_however_much_is_drawn_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = np.random.default_rng(2).uniform(1, 9, (2, 40, 2))
    first = numbers(compare_paired(a, b, ratio, resamples=150, seed=3))
    assert numbers(compare_paired(a, b, ratio, resamples=150, seed=3)) == first
    assert numbers(compare_paired(a, b, ratio, resamples=150, seed=4)) != first
    monkeypatch.setattr(bootstrap, "_NUMBERS_AT_A_TIME", 7 * 40)
    in_pieces = numbers(compare_paired(a, b, ratio, resamples=150, seed=3))
    assert in_pieces == pytest.approx(first)


def test_the_interval_is_as_wide_as_theory_has_it_and_what_is_common_to_both_cancels_out() -> None:
    generator = np.random.default_rng(7)
    rows, deviation = 2000, 3.0
    common = generator.normal(0, 50, rows)
    gains = generator.normal(0.5, deviation, rows)
    found = compare_paired(of_rows(common), of_rows(common + gains), ratio)
    half = 1.96 * gains.std() / sqrt(rows)  # the central limit theorem's interval of a mean
    assert found.low == pytest.approx(gains.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(gains.mean() + half, abs=0.1 * half)


def test_95_of_100_intervals_hold_the_true_difference() -> None:
    generator = np.random.default_rng(11)
    experiments, rows, truth = 400, 100, 0.3
    held = 0
    for number in range(experiments):
        a = generator.normal(0, 1, rows)
        b = a + generator.normal(truth, 1, rows)
        found = compare_paired(of_rows(a), of_rows(b), ratio, resamples=400, seed=number)
        held += bool(found.low <= truth <= found.high)
    # By chance 380 ± 4 of 400; an interval of 90 % would contain it 360 ± 6 times.
    assert 0.92 < held / experiments < 0.98
