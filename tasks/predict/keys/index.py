"""Where keys are: the source of each, and the position in it."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from tasks.load.row_keys import Keys
from tasks.predict.keys.partitions import Partitions, Records
from tasks.system_errors import storage_faults

Integers = NDArray[np.int64]

UNKNOWN = -1
BLOCK = 32
"""Keys; only the first one of so many is held in memory if the others are in a file."""

FOUND_AT_A_TIME = 4096
_HIGH = np.dtype([("high", "<u8")])
_ENTRY = np.dtype([*_HIGH.descr, ("low", "<u8"), ("source", "<i4"), ("position", "<i4")])


class KeyIndex:
    """The places of keys; of those with the same first half, only the first one that came.

    Above two million keys, they are in a file without a name, 24 bytes each, which is mapped: its
    pages are in memory as long as nothing else needs that.

    Args:
        sources: the keys of each source, uint64 [rows, 2].
        folder: where the file is.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, sources: Iterable[Keys], folder: Path) -> None:
        entries = Partitions(_ENTRY, folder)
        for number, keys in enumerate(sources):
            entries.add(_describe(number, keys))
        every = _join(map(_keep_first, entries.read()), folder)
        self._blocks = every.reshape(-1, BLOCK)
        self._starts = self._blocks["high"][:, 0].copy()

    def find(self, keys: Keys) -> Integers:
        """Return the source of each key and the position in it, int64 [rows, 2], or `UNKNOWN`."""
        places = np.full((len(keys), 2), UNKNOWN)
        if len(self._blocks):
            for start in range(0, len(keys), FOUND_AT_A_TIME):
                some = slice(start, start + FOUND_AT_A_TIME)
                self._find(keys[some], places[some])
        return places

    def _find(self, keys: Keys, places: Integers) -> None:
        block = np.searchsorted(self._starts, keys[:, 0], side="right") - 1
        near = self._blocks[np.maximum(block, 0)]
        is_it = (near["high"] == keys[:, :1]) & (near["low"] == keys[:, 1:])
        of_key, at = np.nonzero(is_it)
        found = near[of_key, at]
        places[of_key] = np.column_stack([found["source"], found["position"]])


def find_repeated(keys: Keys, folder: Path) -> NDArray[np.uint64]:
    """Return the first halves of keys that occur more than once, ascending.

    Raises:
        StorageError: the folder cannot be written.
    """
    halves, size = Partitions(_HIGH, folder), 1 << 20
    for start in range(0, len(keys), size):
        halves.add(np.ascontiguousarray(keys[start : start + size, 0]).view(_HIGH))
    ordered = (np.sort(part["high"]) for part in halves.read())
    return np.concatenate([np.unique(part[1:][part[1:] == part[:-1]]) for part in ordered])


def _describe(number: int, keys: Keys) -> Records:
    entries = np.empty(len(keys), _ENTRY)
    entries["high"], entries["low"] = keys.T
    entries["source"], entries["position"] = number, np.arange(len(keys))
    return entries


def _keep_first(entries: Records) -> Records:
    """Return the entries by ascending first halves, without those whose first half is there."""
    ordered = entries[np.argsort(entries["high"], kind="stable")]
    is_new = np.concatenate([[True], ordered["high"][1:] != ordered["high"][:-1]])
    first: Records = ordered[is_new[: len(ordered)]]
    return first


def _join(parts: Iterator[Records], folder: Path) -> Records:
    """Return the parts as one array of whole blocks, in a file if there are several."""
    first = next(parts)
    second = next(parts, None)
    if second is None:
        return np.concatenate([first, _fill(first, len(first))])
    size, last = 0, first[-1:]
    with storage_faults(folder), TemporaryFile(dir=folder, prefix=".keys-") as file:
        for part in chain([first, second], parts):
            file.write(part.view(np.uint8).data)
            size += len(part)
            last = part[-1:] if len(part) else last
        file.write(_fill(last, size).view(np.uint8).data)
        file.flush()
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), _ENTRY)


def _fill(entries: Records, size: int) -> Records:
    """Return what `size` entries lack to whole blocks: the last one, again and again."""
    return np.repeat(entries[-1:], -size % BLOCK)
