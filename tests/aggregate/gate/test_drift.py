"""Whether a run is worse than an earlier one: exact tests, and what they do not take for worse."""

from __future__ import annotations

from fractions import Fraction
from math import comb, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.aggregate.gate.drift import CHANCE, compare_means, compare_shares, find_drift
from tasks.aggregate.gate.limits import Level, Mean, Share

SHARES = st.integers(0, 60).flatmap(
    lambda rows: st.builds(Share, count=st.integers(0, rows), rows=st.just(rows))
)
MEANS = st.builds(
    Mean, value=st.floats(-3, 0), deviation=st.floats(0, 2), rows=st.integers(1, 5000)
)
LEVELS = st.builds(
    Level,
    shares=st.fixed_dictionaries(dict.fromkeys(("unfinished", "duplicate", "rejects"), SHARES)),
    score=st.none() | MEANS,
)


def exact_tail(now: Share, before: Share) -> Fraction:
    """Return the hypergeometric probability of at least as many, in whole numbers."""
    rows, flagged = now.rows + before.rows, now.count + before.count
    ways = sum(
        comb(flagged, count) * comb(rows - flagged, now.rows - count)
        for count in range(now.count, min(now.rows, flagged) + 1)
    )
    return Fraction(ways, comb(rows, now.rows))


@given(now=SHARES, before=SHARES)
def test_shares_are_compared_by_the_exact_test(now: Share, before: Share) -> None:
    expected = float(exact_tail(now, before)) if now.rows and before.rows else 1.0
    assert compare_shares(now, before) == pytest.approx(expected, rel=1e-9)


def test_means_of_many_rows_are_compared_as_by_the_normal_distribution() -> None:
    now, before = Mean(-0.52, 0.3, 40_000), Mean(-0.51, 0.4, 90_000)
    z = (now.value - before.value) / sqrt(0.3**2 / 40_000 + 0.4**2 / 90_000)
    expected = NormalDist().cdf(z)
    assert compare_means(now, before) == pytest.approx(expected, rel=0.01)


def test_without_any_spread_any_lower_mean_is_no_chance_and_a_single_row_says_nothing() -> None:
    assert compare_means(Mean(-0.6, 0, 9), Mean(-0.5, 0, 9)) == 0
    assert compare_means(Mean(-0.5, 0, 9), Mean(-0.5, 0, 9)) == 1
    assert compare_means(Mean(-9, 0, 1), Mean(-0.5, 0.1, 9)) == 1


@settings(max_examples=60)
@given(now=LEVELS, before=LEVELS, most=st.floats(0, 0.5))
def test_only_what_is_worse_by_more_than_the_limit_and_than_chance_is_told(
    now: Level, before: Level, most: float
) -> None:
    for breach in find_drift(most, now, before):
        assert breach.p_value is not None
        assert breach.p_value < CHANCE
        assert breach.before is not None
        worse = breach.value - breach.before
        assert (-worse if breach.count is None else worse) > most
    told, back = (
        {b.measure for b in find_drift(most, *two)} for two in ((now, before), (before, now))
    )
    assert not told & back
    assert list(find_drift(most, now, now)) == []


def test_twice_as_much_of_a_rare_flag_is_told_among_many_rows_only() -> None:
    def level(count: int, rows: int) -> Level:
        return Level({"unfinished": Share(count, rows), "rejects": Share(0, rows)}, None)

    assert list(find_drift(0.005, level(2, 100), level(1, 100))) == []
    (breach,) = find_drift(0.005, level(2000, 100_000), level(1000, 100_000))
    assert (breach.measure, breach.before, breach.count) == ("unfinished", 0.01, 2000)
    assert list(find_drift(0.01, level(2000, 100_000), level(1000, 100_000))) == []
    assert str(breach).startswith("unfinished 2000 of 100000 (2.0 %), before 1.0 % (p = ")


def test_what_an_older_run_did_not_measure_is_not_compared() -> None:
    before = Level({"rejects": Share(0, 900)}, None)
    now = Level({"rejects": Share(0, 900), "unfinished": Share(900, 900)}, Mean(-9, 0.1, 900))
    assert list(find_drift(0, now, before)) == []


def test_nights_of_rows_of_the_same_kind_alarm_no_more_often_than_stated() -> None:
    """Even if any difference counts, however small."""
    draw = np.random.default_rng(20261129)
    nights, rows = 300, 400
    rates = {"unfinished": 0.02, "duplicate": 0.1, "repetitive": 0.5, "rejects": 0.05}

    def night() -> Level:
        shares = {name: Share(int(draw.binomial(rows, p)), rows) for name, p in rates.items()}
        scores = -draw.gamma(0.5, 0.2, rows)  # skewed, as scores are
        return Level(shares, Mean(float(scores.mean()), float(scores.std(ddof=1)), rows))

    alarms = sum(bool(list(find_drift(0, night(), night()))) for _ in range(nights))
    assert alarms <= CHANCE * nights
