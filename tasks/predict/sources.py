"""Sources: shards of the store whose questions may be needed again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import PurePath

import numpy as np
import pyarrow as pa

from tasks.errors import StorageError, StoreCorruptionError
from tasks.load.row_keys import Keys, RowKeys, load_row_keys
from tasks.plan.fingerprints import decides_questions
from tasks.plan.plan import Plan
from tasks.predict.keys.index import Integers
from tasks.predict.shards import is_piece_manifest, is_shard_manifest
from tasks.store.files import storage_of
from tasks.store.manifest import MANIFEST, Manifest, find_checkpoint, read_manifest
from tasks.store.tables import SHARD, read_batches

BYTES_KEPT = 1 << 28
"""Of sources that were read: with a file in another order, each shard needs all of them."""


@dataclass(frozen=True)
class Source:
    """A committed shard, or a piece of one.

    Attributes:
        manifest_path: the path of its manifest.
        manifest: its manifest.
        rows: a digest of the rows whose keys were read.
    """

    manifest_path: PurePath
    manifest: Manifest
    rows: bytes = b""

    @property
    def file(self) -> PurePath:
        """The path of its Parquet file."""
        return self.manifest_path.with_name(self.manifest.files[0].name)

    def read_keys(self, dataset: RowKeys) -> tuple[Source, Keys]:
        """Return it with the keys of its rows, which are rows of `dataset`: uint64 [rows, 2].

        Raises:
            StoreCorruptionError: it cannot be read, or has other rows.
        """
        batches = [batch["row"].to_numpy() for batch in read_batches(self.file, ["row"])]
        rows = np.concatenate([np.empty(0, np.int64), *batches])
        at = np.searchsorted(dataset.rows, rows)
        at = np.minimum(at, len(dataset.rows) - 1)
        if not np.array_equal(dataset.rows[at], rows):
            raise StoreCorruptionError(f"{self.file} has rows that its dataset does not have")
        keys: Keys = dataset.keys[at]
        return replace(self, rows=_digest(rows)), keys


def find_sources(plan: Plan, own: RowKeys | None) -> Iterator[tuple[Source, Keys]]:
    """Yield the shards that the plan's model has made with its options, with their rows' keys.

    Shards that cannot be read, or whose dataset is gone, are passed over. Files are not verified
    yet. `own` are the keys of the plan's dataset, None if it is not complete yet.

    Raises:
        ValueError: it is not complete, but there are shards of it.
    """
    wanted = decides_questions(plan.predictions.decided_by)
    root = plan.predictions.folder.parent
    for folder in storage_of(root).list_folder(root):
        sources = _read_folder(folder, has_pieces=folder != plan.predictions.folder)
        first = next(sources, None)  # all of a folder are decided by the same
        if first is None or decides_questions(first.manifest.decided_by) != wanted:
            continue
        of_folder = first.manifest.decided_by["dataset"]
        is_own = of_folder == plan.dataset.fingerprint
        if is_own and own is None:
            raise ValueError(f"{folder} has shards of a dataset that is not complete")
        dataset = own if is_own else _find_keys(plan, of_folder)
        if dataset is None:
            continue
        for source in chain([first], sources):
            with suppress(StoreCorruptionError):
                yield source.read_keys(dataset)


class SourceTables:
    """Reads the questions of sources; each is verified before it is used."""

    def __init__(self, sources: list[Source]) -> None:
        self.sources = sources
        self._tables: OrderedDict[int, pa.Table] = OrderedDict()
        self._damaged: set[int] = set()

    def read(self, number: int) -> pa.Table | None:
        """Return a source, columns of `tasks.store.tables.SHARD`; None if it is damaged."""
        if number in self._damaged:
            return None
        table = self._tables.pop(number, None)
        if table is None:
            table = self._verify(self.sources[number])
        if table is None:
            self._damaged.add(number)
            return None
        self._tables[number] = table  # the last one used is the last one dropped
        while sum(one.nbytes for one in self._tables.values()) > BYTES_KEPT:
            self._tables.popitem(last=False)
        return table

    @staticmethod
    def _verify(source: Source) -> pa.Table | None:
        found = find_checkpoint(source.manifest_path, source.manifest.fingerprint).manifest
        if found != source.manifest:
            return None
        with suppress(StoreCorruptionError):
            table = pa.Table.from_batches(read_batches(source.file), SHARD)
            # If the file held other rows when their keys were read, it has been mended since.
            return table if _digest(table["row"].to_numpy()) == source.rows else None
        return None


def _digest(rows: Integers) -> bytes:
    return hashlib.sha256(rows.tobytes()).digest()


def _read_folder(folder: PurePath, has_pieces: bool) -> Iterator[Source]:
    """Yield the shards, and pieces of shards, in a folder of predictions, in order.

    Damaged manifests are passed over. The pieces of a shard that is to be made are its own affair.
    """
    try:
        places = storage_of(folder).list_folder(folder)
    except StorageError:
        return
    for place in places:
        if is_shard_manifest(place) or (has_pieces and is_piece_manifest(place)):
            with suppress(OSError, ValueError):
                yield Source(place, Manifest.from_bytes(storage_of(place).read(place)))


def _find_keys(plan: Plan, dataset_fingerprint: str) -> RowKeys | None:
    """Return the keys of a dataset; None if the store has it no more, or it is damaged."""
    folder = plan.store.dataset_folder(dataset_fingerprint)
    with suppress(StoreCorruptionError, OSError):
        dataset = read_manifest(folder / MANIFEST, dataset_fingerprint)
        return None if dataset is None else load_row_keys(folder, dataset)
    return None
