"""Bootstrap resampling: confidence intervals of metrics and of the difference of two systems.

Each resample draws all rows with replacement, the same ones if there are two systems, and scores
them (P. Koehn, Statistical significance tests for machine translation evaluation, EMNLP 2004). The
middle 95 % of the scores, or of their differences, are the confidence interval: the percentile
interval of B. Efron and R. Tibshirani, An introduction to the bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Score = Callable[[Matrix], Matrix]

RESAMPLES = 2000
SEED = 2004
CONFIDENCE = 0.95
_NUMBERS_AT_A_TIME = 1 << 22  # 32 MiB of float64


@dataclass(frozen=True)
class Differences:
    """Metrics of two systems over the same rows, and the interval of b − a; each float64 [m]."""

    a: Matrix
    b: Matrix
    low: Matrix
    high: Matrix


def compare_paired(
    a: Matrix, b: Matrix, score: Score, resamples: int = RESAMPLES, seed: int = SEED
) -> Differences:
    """Score two systems, and resample the difference.

    Args:
        a: statistics of one system, float64 [rows, k] with at least one row.
        b: statistics of the other system, for the same rows in the same order.
        score: maps sums of statistics, [n, k], to m metrics of each sum, [n, m].
        resamples: the number of resamples.
        seed: equal seeds and numbers of rows give equal draws.
    """
    gain = b - a
    pieces = [(drawn @ a, drawn @ gain) for drawn in _draw(len(a), resamples, seed)]
    sums, gains = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    # Not the sums of b, which even for equal systems would differ by rounding errors.
    low, high = _interval(score(sums + gains) - score(sums))
    whole, added = a.sum(axis=0, keepdims=True), gain.sum(axis=0, keepdims=True)
    return Differences(score(whole)[0], score(whole + added)[0], low, high)


def estimate(
    statistics: Matrix, score: Score, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[Matrix, Matrix, Matrix]:
    """Score one system, and resample the score; the arguments are as in `compare_paired`.

    Returns:
        The metrics, and the lower and the upper ends of their intervals, each float64 [m].
    """
    drawn = _draw(len(statistics), resamples, seed)
    low, high = _interval(score(np.concatenate([some @ statistics for some in drawn])))
    return score(statistics.sum(axis=0, keepdims=True))[0], low, high


def _draw(rows: int, resamples: int, seed: int) -> Iterator[Matrix]:
    """Yield how often each resample draws each row, float64 [some resamples, rows] at a time."""
    generator = np.random.default_rng(seed)
    at_a_time = max(1, _NUMBERS_AT_A_TIME // rows)
    for start in range(0, resamples, at_a_time):
        lines = range(start, min(start + at_a_time, resamples))
        drawn = (generator.integers(rows, size=rows) for _ in lines)
        yield np.array([np.bincount(one, minlength=rows) for one in drawn], dtype=np.float64)


def _interval(scores: Matrix) -> tuple[Matrix, Matrix]:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(scores, [tail, 100 - tail], axis=0)
    return low, high
