"""The words of texts in normal form, as numbers, and how two texts have them in common.

A word is a run of characters of class WORD, or one other character: Chinese has no spaces, so each
of its characters counts as a word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.quality.texts.hashes import hash_rows, hash_slices
from tasks.quality.texts.normal_form import CODE, END, SPACE, WORD, Codes
from tasks.quality.texts.rows import Integers, Rows, Values, take_slices

CELLS = 1 << 16
"""Cells of a padded block of passages, so that it stays in the processor's cache."""

_FIRST_RUN = 0x110000  # numbers of words of several characters; those of one are code points
_NO_WORD, _NO_OTHER = (1 << 32) - 1, (1 << 32) - 2  # paddings, which equal nothing


def split_words(*texts: Codes) -> list[Rows]:
    """Return the words of each of several arrays of texts; equal words have equal numbers."""
    together = np.concatenate(texts)
    in_word = (together & WORD != 0) & (together != SPACE)
    starts = in_word & ~np.roll(in_word, 1)  # an END is before each text
    is_unit = starts | ~in_word & (together != SPACE)
    numbers = together & CODE
    first = np.flatnonzero(starts)
    lengths = np.flatnonzero(in_word & ~np.roll(in_word, -1)) + 1 - first
    is_run = lengths > 1
    hashes = hash_rows(take_slices(numbers, first[is_run], lengths[is_run]))
    numbers[first[is_run]] = _FIRST_RUN + pa.array(hashes).dictionary_encode().indices.to_numpy()
    stops = np.cumsum([len(one) for one in texts])
    return [
        _cut(numbers[start:stop], together[start:stop] == END, is_unit[start:stop])
        for start, stop in zip((0, *stops[:-1]), stops, strict=True)
    ]


def _cut(
    numbers: NDArray[np.uint32], is_end: NDArray[np.bool_], is_unit: NDArray[np.bool_]
) -> Rows:
    ends = np.cumsum(is_unit)[is_end] - np.arange(1, np.count_nonzero(is_end) + 1)
    return Rows(numbers[is_unit & ~is_end], np.concatenate([np.zeros(1, np.int64), ends]))


def contains(texts: Rows, parts: Rows) -> NDArray[np.bool_]:
    """Return whether each text has the part of the same row as a run of words, bool [rows].

    An empty part is contained in every text. Runs are compared by hashes of 64 bits.
    """
    lengths = parts.lengths
    row_of = texts.row_of
    starts = np.flatnonzero(texts.places + lengths[row_of] <= texts.lengths[row_of])
    row = row_of[starts]
    found: NDArray[np.bool_] = lengths == 0
    found[row[hash_slices(texts, starts, lengths[row]) == hash_rows(parts)[row]]] = True
    return found


@dataclass(frozen=True)
class Overlap:
    """What each text has in common with another.

    Attributes:
        longest: words of the longest run of words that both have, int64 [rows].
        missing: words of the text that the other does not have, int64 [rows].
    """

    longest: Integers
    missing: Integers


def compare(texts: Rows, others: Rows) -> Overlap:
    """Return for each text what it has in common with the other of the same row."""
    longest, missing = np.zeros((2, len(texts)), np.int64)
    for start, stop in others.blocks(CELLS):
        text = texts.pad(start, stop, _NO_WORD)
        other = others.pad(start, stop, _NO_OTHER, multiple=8)
        longest[start:stop], missing[start:stop] = _compare_block(text, other)
    return Overlap(longest, missing)


def _compare_block(text: Values, other: Values) -> tuple[Integers, Integers]:
    """Compare padded texts [rows, words of text] with others [rows, a multiple of 8].

    `run` is, for each word of the other, the length of the common run that ends there and at the
    current word of the text.
    """
    rows, size = other.shape
    kind = np.min_scalar_type(text.shape[1])
    run, longest = np.zeros((rows, size + 1), kind), np.zeros((rows, size), kind)
    grown, is_equal = np.empty_like(longest), np.empty((rows, size), np.bool_)
    missing = np.zeros(rows, np.int64)
    for word in text.T:
        np.equal(other, word[:, None], out=is_equal)
        np.add(run[:, :-1], kind.type(1), out=grown)
        np.multiply(grown, is_equal.view(np.uint8), out=run[:, 1:])
        np.maximum(longest, run[:, 1:], out=longest)
        is_there = np.bitwise_or.reduce(is_equal.view(np.uint64), axis=1) != 0  # 8 at a time
        missing += ~is_there & (word != _NO_WORD)
    return longest.max(axis=1, initial=0), missing
