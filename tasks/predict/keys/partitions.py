"""Records divided by the first bits of their keys, so that each part can be sorted in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.system_errors import storage_faults

PARTS = 256
MOST_IN_MEMORY = 1 << 21
"""Records; more are written to a file, so many at a time."""

Records = NDArray[np.void]
"""Of a structured dtype with the field `high`, the uint64 by which they are divided."""


class Partitions:
    """Records in up to `PARTS` parts; in a file without a name if there are many.

    All are added before any is read, and are read once.

    Args:
        kind: the dtype of the records.
        folder: where the file is.
    """

    def __init__(self, kind: np.dtype[Any], folder: Path) -> None:
        self._kind, self._folder = kind, folder
        self._new: list[Records] = []
        self._count = 0  # of the new ones
        self._bounds: list[NDArray[np.int64]] = []  # of the parts in the file, each time

    def add(self, records: Records) -> None:
        """Add records.

        Raises:
            StorageError: the folder cannot be written.
        """
        self._new.append(records)
        self._count += len(records)
        if self._count > MOST_IN_MEMORY:
            self._write()

    def read(self) -> Iterator[Records]:
        """Yield the records of each part, by ascending bits, in the order in which they were added.

        Raises:
            StorageError: the folder cannot be written or read.
        """
        if not self._bounds:
            yield self._join(self._new)
            return
        self._write()
        with self._file:
            for part in range(PARTS):
                yield self._join([self._read(*bounds[part : part + 2]) for bounds in self._bounds])

    def _join(self, pieces: list[Records]) -> Records:
        return np.concatenate([np.empty(0, self._kind), *pieces])

    def _write(self) -> None:
        records = self._join(self._new)
        self._new, self._count = [], 0
        part = (records["high"] >> np.uint64(56)).astype(np.uint8)
        sizes = np.bincount(part, minlength=PARTS)
        with storage_faults(self._folder):
            if not self._bounds:
                self._file = TemporaryFile(dir=self._folder, prefix=".keys-")  # noqa: SIM115
            start = self._bounds[-1][-1] if self._bounds else 0
            self._file.write(records[np.argsort(part, kind="stable")].view(np.uint8).data)
        self._bounds.append(start + np.concatenate([[0], np.cumsum(sizes)]))

    def _read(self, start: int, stop: int) -> Records:
        size = self._kind.itemsize
        with storage_faults(self._folder):
            self._file.seek(int(start) * size)
            return np.frombuffer(self._file.read(int(stop - start) * size), self._kind)
