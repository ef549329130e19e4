"""Keys that have been seen, in eight bytes each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SeenKeys:
    """First halves of keys, in sorted arrays; each has twice as many as the next, or more."""

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.uint64]] = []

    def add(self, halves: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Add some, uint64 [n]; return which of them were added before, bool [n]."""
        were_seen = np.zeros(len(halves), np.bool_)
        for one in self._arrays:
            at = np.minimum(np.searchsorted(one, halves), len(one) - 1)
            were_seen |= one[at] == halves
        new = np.unique(halves)
        while self._arrays and len(self._arrays[-1]) < 2 * len(new):
            new = np.union1d(self._arrays.pop(), new)
        if len(new):
            self._arrays.append(new)
        return were_seen
