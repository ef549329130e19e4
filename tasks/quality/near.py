"""Which questions are nearly the same: their digits are equal, and most of their characters.

The similarity of two questions is the Jaccard similarity of their sets of three-character runs;
0 if their digits are not the same in the same order, since these tell questions apart. Of two sets
of x and y runs with a similarity of at least 4/5, each has 4/5 of the other's, so they have one in
common among the x - ⌈4x/5⌉ + 1 and y - ⌈4y/5⌉ + 1 that come first in any order of all runs. With
the rarest first, few other pairs do, and each of these is compared.

If very many questions have one form, such as `…在哪一年出生？`, its runs can be among the rarest of
each. So a question is compared with the first `MOST_WITH_RUN` originals that have a run. Overlooked
are pairs that have no rarer run in common: those whose names differ.

Source: Chaudhuri, Ganti, Kaushik: A primitive operator for similarity joins in data cleaning, 2006.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tasks.quality.texts.hashes import hash_rows, hash_runs, mix, shorten
from tasks.quality.texts.normal_form import DIGIT, END, Codes
from tasks.quality.texts.rows import (
    Growing,
    Integers,
    Rows,
    Values,
    count_up,
    join_rows,
    take_slices,
    unique_in_rows,
)
from tasks.quality.texts.rows_file import RowsFile

THRESHOLD = 4, 5
"""The least similarity of near questions, as a fraction."""

CHARACTERS = 3
MOST_WITH_RUN = 16
NONE = -1
_MOST_COUNTER_BITS = 22
_MOST_COUNTED = (1 << 16) - 1
_ROWS_COUNTED = 1 << 15
_ROWS_KEPT = 1 << 12  # the originals that are compared with again and again
_ROWS_AT_A_TIME = 1 << 13


def find_runs(texts: Codes) -> Rows:
    """Return hashes, uint32, of the different runs of `CHARACTERS` characters of each question.

    They contain the digits of the question, so that others have no run in common with it. Two more
    characters before and behind each question give its ends as many runs as its middle.
    """
    ends = np.flatnonzero(texts == END)
    lengths = np.diff(ends, prepend=-1) - 1
    characters = take_slices(texts, ends - lengths, lengths)
    padded = Rows(
        np.full(len(characters.values) + 4 * len(ends), END, np.uint32),
        characters.offsets + 4 * np.arange(len(ends) + 1),
    )
    padded.values[np.arange(len(characters.values)) + 4 * characters.row_of + 2] = characters.values
    runs = hash_runs(padded, CHARACTERS)
    hashes = mix(runs.values ^ np.repeat(_hash_digits(characters), runs.lengths))
    return unique_in_rows(Rows(shorten(hashes), runs.offsets))


def _hash_digits(characters: Rows) -> NDArray[np.uint64]:
    is_digit = characters.values & DIGIT != 0
    count = count_up(is_digit)
    return hash_rows(Rows(characters.values[is_digit], count[characters.offsets]))


def find_near(runs: RowsFile, is_compared: NDArray[np.bool_]) -> Integers:
    """Return for each question the place of the first near one that has no original itself.

    `runs` are those of `find_runs`. Returns int64 [questions], `NONE` for those without, and for
    those that are not compared.
    """
    rarest, times = _number_shared(_find_rarest(runs, is_compared))
    originals = np.full(len(runs), NONE)
    # Of each run, the places of the first originals that have it, and how many there are.
    starts = count_up(np.minimum(times, MOST_WITH_RUN))
    places, counts = np.empty(starts[-1], np.int64).data, bytearray(len(times))
    first = starts.data
    read = lru_cache(_ROWS_KEPT)(lambda place: runs.row(place).tolist())
    for place in np.flatnonzero(rarest.lengths).tolist():
        own = rarest.row(place).tolist()
        near = {at for run in own for at in places[first[run] : first[run] + counts[run]]}
        originals[place] = original = _find_first(read, place, near)
        if original == NONE:
            for run in own:
                if counts[run] < MOST_WITH_RUN:
                    places[first[run] + counts[run]] = place
                    counts[run] += 1
    return originals


def _find_first(read: Callable[[int], list[int]], place: int, candidates: set[int]) -> int:
    """Return the first of the candidates that is near the question at a place, or `NONE`.

    `read` returns the runs of a question.
    """
    own = frozenset(read(place)) if candidates else frozenset()
    for one in sorted(candidates):
        other = read(one)
        common = len(own.intersection(other))
        if common * THRESHOLD[1] >= (len(own) + len(other) - common) * THRESHOLD[0]:
            return one
    return NONE


def _find_rarest(runs: RowsFile, is_compared: NDArray[np.bool_]) -> Rows:
    """Return of each compared question the rarest runs; near ones have one of them in common."""
    # Counted by their first bits; runs that share a counter only seem less rare.
    bits = min(_MOST_COUNTER_BITS, int(np.diff(runs.offsets)[is_compared].sum()).bit_length() + 2)
    shift = np.uint32(32 - bits)
    counts = np.zeros(1 << bits, np.uint32)
    for block in _split(runs, is_compared, _ROWS_COUNTED):
        found = np.bincount(block.values >> shift, minlength=len(counts))
        np.add(counts, found, out=counts, casting="unsafe")
        del found  # 32 MB, before the next block is read
    return join_rows(
        _take_rarest(block, counts[block.values >> shift])
        for block in _split(runs, is_compared, _ROWS_AT_A_TIME)
    )


def _split(runs: RowsFile, is_compared: NDArray[np.bool_], rows: int) -> Iterator[Rows]:
    """Yield the runs of some questions at a time; none for those that are not compared."""
    start = 0
    for block in runs.split(rows):
        yield block.keep(is_compared[start : start + len(block)])
        start += len(block)


def _take_rarest(runs: Rows, counts: Integers) -> Rows:
    # In the order of row, count and hash: 16 bits, 16 bits and 32 bits.
    keys = runs.row_of.view(np.uint64) << np.uint64(48) | runs.values
    keys |= np.minimum(counts, _MOST_COUNTED).astype(np.uint64) << np.uint64(32)
    keys.sort()
    lengths = runs.lengths
    kept = lengths - -(-lengths * THRESHOLD[0] // THRESHOLD[1]) + np.minimum(lengths, 1)
    return take_slices(keys.astype(np.uint32), runs.offsets[:-1], kept)


def _number_shared(runs: Rows) -> tuple[Rows, Integers]:
    """Return the runs of each row that another row has, too, as numbers from 0.

    Also return how many rows have the run of each number.
    """
    shared = _find_repeated(runs.values)
    numbers, lengths = Growing(np.uint32), Growing(np.int64)
    for block in runs.split(_ROWS_COUNTED):
        at = np.minimum(np.searchsorted(shared, block.values), max(len(shared) - 1, 0))
        is_shared = shared[at] == block.values if len(shared) else np.zeros(len(at), np.bool_)
        numbers.add(at[is_shared])
        lengths.add(np.diff(count_up(is_shared)[block.offsets]))
    found = Rows(numbers.array, count_up(lengths.array))
    return found, np.bincount(found.values, minlength=len(shared))


def _find_repeated(values: Values) -> Values:
    """Return the different values that occur more than once, ascending."""
    in_order = np.sort(values)
    repeated: Values = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
    return repeated
