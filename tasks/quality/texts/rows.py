"""Rows of numbers of different lengths, such as the words of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Values = NDArray[np.unsignedinteger[Any]]
_BITS = np.uint64(32)  # of a value


@dataclass(frozen=True)
class Rows:
    """Row i has `values[offsets[i]:offsets[i + 1]]`; `offsets` are int64 [rows + 1]."""

    values: Values
    offsets: Integers

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Integers:
        """The length of each row, int64 [rows]."""
        return np.diff(self.offsets)

    @property
    def row_of(self) -> Integers:
        """The row of each value, int64 [values]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def places(self) -> Integers:
        """The place of each value in its row, from 0, int64 [values]."""
        return np.arange(len(self.values)) - np.repeat(self.offsets[:-1], self.lengths)

    def row(self, number: int) -> Values:
        """Return a row."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def take(self, start: int, stop: int) -> Rows:
        """Return rows `start` to `stop`."""
        offsets = self.offsets[start : stop + 1]
        return Rows(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def split(self, rows: int) -> Iterator[Rows]:
        """Yield the rows, `rows` at a time."""
        for start in range(0, len(self), rows):
            yield self.take(start, min(start + rows, len(self)))

    def keep(self, is_kept: NDArray[np.bool_]) -> Rows:
        """Return the rows, of which those that are not kept have no values."""
        values = self.values[np.repeat(is_kept, self.lengths)]
        return Rows(values, count_up(np.where(is_kept, self.lengths, 0)))

    def pad(self, start: int, stop: int, padding: int, multiple: int = 1) -> Values:
        """Return rows `start` to `stop`, padded at the end to the longest of them.

        Its length is rounded up to a multiple. The shape is [rows, length].
        """
        lengths = self.lengths[start:stop]
        columns = np.arange(-(-lengths.max(initial=0) // multiple) * multiple)
        padded = np.full((len(lengths), len(columns)), padding, self.values.dtype)
        padded[columns < lengths[:, None]] = self.values[self.offsets[start] : self.offsets[stop]]
        return padded

    def blocks(self, most: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of rows that have at most `most` values when padded, or one row."""
        start, longest = 0, 0
        for row, length in enumerate(self.lengths.tolist()):
            longest = max(longest, length)
            if row > start and longest * (row + 1 - start) > most:
                yield start, row
                start, longest = row, length
        if len(self):
            yield start, len(self)


def count_up(lengths: NDArray[Any]) -> Integers:
    """Return the offsets of rows of these lengths, int64 [rows + 1]; True counts as 1."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def take_slices(values: Values, starts: Integers, lengths: Integers) -> Rows:
    """Return `lengths[i]` of the values from `starts[i]` on as row i."""
    offsets = count_up(lengths)
    at = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return Rows(values[at], offsets)


def unique_in_rows(rows: Rows) -> Rows:
    """Return the different values of each row, ascending; they must be uint32."""
    keys = rows.row_of.astype(np.uint64) << _BITS | rows.values
    keys.sort()  # in place, and faster than an order of two keys
    is_new = np.ones(len(keys), np.bool_)
    is_new[1:] = keys[1:] != keys[:-1]
    return Rows(keys[is_new].astype(np.uint32), count_up(is_new)[rows.offsets])


def join_rows(parts: Iterable[Rows]) -> Rows:
    """Return the rows of all parts; their values are uint32."""
    values, lengths = Growing(np.uint32), Growing(np.int64)
    for part in parts:
        values.add(part.values)
        lengths.add(part.lengths)
    return Rows(values.array, count_up(lengths.array))


class Growing:
    """An array that parts are added to.

    `np.concatenate` needs all parts and their copy at once; this grows in place.
    """

    def __init__(self, kind: type[np.generic]) -> None:
        self._kind, self._bytes = np.dtype(kind), bytearray()

    def add(self, values: NDArray[Any]) -> None:
        """Add values of the array's type at its end."""
        self._bytes += values.astype(self._kind, copy=False).tobytes()

    @property
    def array(self) -> NDArray[Any]:
        """All values, one after the other; nothing may be added any more."""
        return np.frombuffer(self._bytes, self._kind)
