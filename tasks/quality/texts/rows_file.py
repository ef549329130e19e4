"""Rows of numbers in a file, of which only the offsets are in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from tasks.quality.texts.rows import Growing, Integers, Rows, Values, count_up

_KIND = np.dtype(np.uint32)


class RowsFile:
    """Rows of uint32 in a file, which is read where they are asked for.

    All rows are added before any is read. What the file raises passes through.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._lengths = file, Growing(np.int64)
        self._offsets: Integers | None = None

    def add(self, rows: Rows) -> None:
        """Add rows at the end."""
        self._file.write(rows.values.astype(_KIND, copy=False).tobytes())
        self._lengths.add(rows.lengths)

    @property
    def offsets(self) -> Integers:
        """The place of the first value of each row, int64 [rows + 1]."""
        if self._offsets is None:
            self._offsets = count_up(self._lengths.array)
            self._file.flush()
            del self._lengths
        return self._offsets

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    def row(self, number: int) -> Values:
        """Return a row."""
        return self._read(int(self.offsets[number]), int(self.offsets[number + 1]))

    def split(self, rows: int) -> Iterator[Rows]:
        """Yield the rows, `rows` at a time."""
        for start in range(0, len(self), rows):
            offsets = self.offsets[start : start + rows + 1]
            yield Rows(self._read(int(offsets[0]), int(offsets[-1])), offsets - offsets[0])

    def _read(self, start: int, stop: int) -> Values:
        size = _KIND.itemsize
        data = os.pread(self._file.fileno(), (stop - start) * size, start * size)
        return np.frombuffer(data, _KIND)
