"""Hashes of 64 bits of rows of numbers, and of runs in them.

The hash of numbers a, b, c … is mix(a) + mix(b) * BASE + mix(c) * BASE**2 …, modulo 2**64, so that
differences of sums give the hash of every run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.quality.texts.rows import Integers, Rows, Values, count_up

Hashes = NDArray[np.uint64]
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))


def hash_rows(rows: Rows) -> Hashes:
    """Return a hash of each row, uint64 [rows]."""
    powers = _powers(rows.lengths.max(initial=0))
    sums = _sum_up(mix(rows.values) * powers[rows.places])
    hashes: Hashes = sums[rows.offsets[1:]] - sums[rows.offsets[:-1]]
    return hashes


def hash_slices(rows: Rows, starts: Integers, lengths: Integers) -> Hashes:
    """Return the hash of `lengths[i]` values from `starts[i]` on, uint64 [slices]."""
    count = len(rows.values)
    sums = _sum_up(mix(rows.values) * _powers(count)[:-1])
    # The powers of these sums count from the first value of all, not from that of the slice.
    hashes: Hashes = (sums[starts + lengths] - sums[starts]) * _powers(count, _INVERSE)[starts]
    return hashes


def hash_runs(rows: Rows, size: int) -> Rows:
    """Return a hash of each run of `size` values of each row; shorter rows get none."""
    lengths = np.maximum(rows.lengths - size + 1, 0)
    starts = np.flatnonzero(rows.places < lengths[rows.row_of])
    hashes = hash_slices(rows, starts, np.full(len(starts), size))
    return Rows(hashes, count_up(lengths))


def mix(numbers: Values) -> Hashes:
    """Return the finalizer of SplitMix64 of numbers: a permutation that scatters its input.

    Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014.
    """
    mixed = numbers.astype(np.uint64) + _BASE
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def shorten(hashes: Hashes) -> NDArray[np.uint32]:
    """Return 32 bits of each hash, enough for the few that one text has."""
    return (hashes >> np.uint64(32)).astype(np.uint32)


def _powers(count: int, base: np.uint64 = _BASE) -> Hashes:
    """Return the powers 0 to count of the base, modulo 2**64."""
    return np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(count, base)]))


def _sum_up(numbers: Hashes) -> Hashes:
    """Return the sums of the first 0, 1, … of the numbers, modulo 2**64."""
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(numbers)])
