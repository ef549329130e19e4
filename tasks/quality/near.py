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

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from tasks.quality.texts.hashes import hash_rows, hash_runs, mix, shorten
from tasks.quality.texts.normal_form import DIGIT, END, Codes
from tasks.quality.texts.rows import (
    Integers,
    Rows,
    count_up,
    join_rows,
    take_slices,
    unique_in_rows,
)

THRESHOLD = 4, 5
"""The least similarity of near questions, as a fraction."""

CHARACTERS = 3
MOST_WITH_RUN = 16
NONE = -1
_MOST_COUNTER_BITS = 22
_MOST_COUNTED = (1 << 16) - 1
_ROWS_AT_A_TIME = 1 << 16


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


def find_near(runs: Rows) -> Integers:
    """Return for each question the place of the first near one that has no original itself.

    `runs` are those of `find_runs`. Returns int64 [questions], `NONE` for those without.
    """
    originals = np.full(len(runs), NONE)
    rarest = _keep_shared(_find_rarest(runs))
    places: dict[int, list[int]] = defaultdict(list)
    for place in np.flatnonzero(rarest.lengths).tolist():
        own = [places[run] for run in rarest.row(place).tolist()]
        originals[place] = original = _find_first(runs, place, {at for some in own for at in some})
        if original == NONE:
            for some in own:
                if len(some) < MOST_WITH_RUN:
                    some.append(place)
    return originals


def _find_first(runs: Rows, place: int, candidates: set[int]) -> int:
    """Return the first of the candidates that is near the question at a place, or `NONE`."""
    own = frozenset(runs.row(place).tolist()) if candidates else frozenset()
    for one in sorted(candidates):
        other = runs.row(one).tolist()
        common = len(own.intersection(other))
        if common * THRESHOLD[1] >= (len(own) + len(other) - common) * THRESHOLD[0]:
            return one
    return NONE


def _find_rarest(runs: Rows) -> Rows:
    """Return of each question the rarest runs, among which near questions have one in common."""
    blocks = [
        runs.take(start, min(start + _ROWS_AT_A_TIME, len(runs)))
        for start in range(0, len(runs), _ROWS_AT_A_TIME)
    ]
    # Counted by their first bits; runs that share a counter only seem less rare.
    shift = np.uint32(32 - min(_MOST_COUNTER_BITS, len(runs.values).bit_length() + 2))
    counts = np.zeros((1 << 32) >> int(shift), np.int64)
    for block in blocks:
        counts += np.bincount(block.values >> shift, minlength=len(counts))
    return join_rows([_take_rarest(block, counts[block.values >> shift]) for block in blocks])


def _take_rarest(runs: Rows, counts: Integers) -> Rows:
    # In the order of row, count and hash: 16 bits, 16 bits and 32 bits.
    keys = runs.row_of << 48 | np.minimum(counts, _MOST_COUNTED) << 32 | runs.values
    keys = keys.view(np.uint64)
    keys.sort()
    lengths = runs.lengths
    kept = lengths - -(-lengths * THRESHOLD[0] // THRESHOLD[1]) + np.minimum(lengths, 1)
    return take_slices(keys.astype(np.uint32), runs.offsets[:-1], kept)


def _keep_shared(runs: Rows) -> Rows:
    """Return the runs of each row that another row has, too."""
    order = np.argsort(runs.values)
    is_same = np.diff(runs.values[order]) == 0
    is_shared = np.zeros(len(order), np.bool_)
    is_shared[order[:-1][is_same]] = is_shared[order[1:][is_same]] = True
    count = count_up(is_shared)
    return Rows(runs.values[is_shared], count[runs.offsets])
