"""Known rows: rows whose questions the store has already, in whatever shard.

A row's tokens do not depend on its batch, its neighbors or its place, so a shard copies what the
same model has generated for an equal row before: for another version of the file, with other shard
or batch sizes, or for an equal row of the same file.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.load.row_keys import Keys, RowKeys, digest_keys, load_row_keys, scratch_folder
from tasks.plan.plan import Plan
from tasks.predict.jobs import ShardJob
from tasks.predict.keys.index import UNKNOWN, Integers, KeyIndex, find_repeated
from tasks.predict.sources import Source, SourceTables, find_sources
from tasks.store.manifest import Manifest
from tasks.store.tables import SHARD, sort_rows

KNOWN = pa.schema([pa.field("position", pa.int64(), nullable=False), *SHARD])
"""Questions of known rows, by their position in a shard, from 0, ascending; `row` and `id` are
those of the row that the question was generated for."""


NO_ROWS = RowKeys(np.empty(0, np.int64), np.empty((0, 2), np.uint64))


@dataclass(frozen=True)
class KnownPart:
    """What of a shard needs no generating.

    Attributes:
        questions: of known rows, columns `KNOWN`.
        copies: positions of rows that equal an unknown row before them, with the position of that.
        origins: number of known rows by the fingerprint of the predictions that they come from.
        files: the sha256 of the files that they come from.
        content: a digest of the keys of all rows of the shard; empty if it is not of a shard.
    """

    questions: pa.Table = field(default_factory=KNOWN.empty_table)
    copies: Mapping[int, int] = field(default_factory=dict)
    origins: Mapping[str, int] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    content: str = ""

    @property
    def positions(self) -> Integers:
        """The positions of the known rows, int64, ascending."""
        positions: Integers = self.questions["position"].to_numpy()
        return positions

    @property
    def decided_by(self) -> dict[str, Any]:
        """What decides the bytes of rows that are not generated; nothing if there are none."""
        known = {"known": self.positions.tolist(), "files": self.files} if self.files else {}
        return {**known, "copies": sorted(self.copies.items())} if self.copies else known

    @property
    def counts(self) -> dict[str, Any]:
        """What the shard's manifest says of it; nothing if every row must be generated."""
        counts = {"copies": len(self.copies), "known": dict(sorted(self.origins.items()))}
        return {name: count for name, count in counts.items() if count}

    def leave_unknown(self, rows: int) -> list[int]:
        """Return the positions of a shard of `rows` rows that must be generated, ascending."""
        done = {*self.positions.tolist(), *self.copies}
        return [position for position in range(rows) if position not in done]

    def join(self, made: pa.Table, rows: pa.Table) -> pa.Table:
        """Return the rows that were made now and the known ones in order, columns of `SHARD`.

        `rows` has `row` and `id` of every row of the shard.
        """
        if not self.files:
            return made
        mine, known = select_places(rows, self.positions), self.questions.select(SHARD.names)
        for place, name in enumerate(("row", "id")):
            known = known.set_column(place, SHARD.field(name), mine[name])
        return sort_rows(pa.concat_tables([made, known]), "row")


class KnownRows:
    """The known rows of a dataset; several threads may use it at once.

    Args:
        own: the dataset's rows and their keys; None: they come later, by `attach`.
        sources: shards that have questions, each with the keys of its rows, uint64 [rows, 2].
        folder: where files without a name are put, if there are millions of keys.
    """

    def __init__(
        self, own: RowKeys | None, sources: Iterable[tuple[Source, Keys]], folder: Path
    ) -> None:
        self._tables, self._folder = SourceTables([]), folder
        self._index = KeyIndex(self._note(sources), folder)
        self._added: dict[tuple[int, ...], tuple[int, int]] = {}
        self._lock = threading.Lock()
        self.attach(own or NO_ROWS)

    def attach(self, own: RowKeys) -> None:
        """Take these for the dataset's rows and their keys."""
        self._own, self._repeated = own, find_repeated(own.keys, self._folder)

    def of(self, job: ShardJob) -> KnownPart:
        """Return what of a shard is known; what is damaged counts as unknown."""
        keys = self._own.keys[job.shard.start : job.shard.stop]
        return replace(self.find(keys), content=digest_keys(keys))

    def find(self, keys: Keys) -> KnownPart:
        """Return what is known of rows with these keys, uint64 [rows, 2]."""
        with self._lock:
            part = self._read(self._find(keys))
        unknown = np.setdiff1d(np.arange(len(keys)), part.positions, assume_unique=True)
        return replace(part, copies=_find_copies(keys, unknown))

    def add(self, job: ShardJob, manifest: Manifest) -> None:
        """Note a shard that was made now, for equal rows in later shards."""
        if not self._repeated.size:
            return
        source, keys = Source(job.manifest_path, manifest).read_keys(self._own)
        with self._lock:
            number = len(self._tables.sources)
            self._tables.sources.append(source)
            for place in np.flatnonzero(self._is_repeated(keys[:, 0])).tolist():
                self._added.setdefault(tuple(keys[place].tolist()), (number, place))

    def _note(self, sources: Iterable[tuple[Source, Keys]]) -> Iterator[Keys]:
        for source, keys in sources:
            self._tables.sources.append(source)
            yield keys

    def _find(self, keys: Keys) -> Integers:
        """Return the source of each key and the position in it, int64 [rows, 2], or `UNKNOWN`."""
        places = self._index.find(keys)
        if self._added:
            for position in np.flatnonzero(places[:, 0] == UNKNOWN).tolist():
                key = tuple(keys[position].tolist())
                places[position] = self._added.get(key, (UNKNOWN, UNKNOWN))
        return places

    def _is_repeated(self, halves: NDArray[np.uint64]) -> NDArray[np.bool_]:
        at = np.minimum(np.searchsorted(self._repeated, halves), self._repeated.size - 1)
        is_repeated: NDArray[np.bool_] = self._repeated[at] == halves
        return is_repeated

    def _read(self, places: Integers) -> KnownPart:
        pieces, origins, files = [KNOWN.empty_table()], Counter[str](), []
        for number in np.unique(places[places[:, 0] != UNKNOWN, 0]).tolist():
            table, source = self._tables.read(number), self._tables.sources[number]
            if table is not None:
                positions = np.flatnonzero(places[:, 0] == number)
                pieces += _take(table, places[positions, 1], positions)
                origins[source.manifest.fingerprint] += len(positions)
                files.append(source.manifest.files[0].sha256)
        questions = sort_rows(pa.concat_tables(pieces), "position")
        return KnownPart(questions, {}, origins, tuple(files))


def find_known_rows(plan: Plan, dataset: Manifest | None) -> KnownRows:
    """Return the known rows of a plan's dataset, from all shards of the store.

    Without `dataset`, which is not complete yet, its rows are to be attached.

    Raises:
        ValueError: there is no dataset yet, but shards of it.
        StoreCorruptionError: a part of the dataset cannot be read.
        StorageError: the store cannot be read or written.
    """
    own = None if dataset is None else load_row_keys(plan.dataset.folder, dataset)
    return KnownRows(own, find_sources(plan, own), scratch_folder(plan.store.root))


def select_places(table: pa.Table, places: Sequence[int] | Integers) -> pa.Table:
    """Return some rows of a table, by their positions in it, ascending.

    `Table.take` would put all texts of a column into one array.
    """
    if len(places) == table.num_rows:
        return table
    is_wanted = np.zeros(table.num_rows, np.bool_)
    is_wanted[places] = True
    return table.filter(pa.array(is_wanted))


def _take(table: pa.Table, places: Integers, positions: Integers) -> Iterator[pa.Table]:
    """Yield rows of a source with their positions, columns `KNOWN`, batch by batch of the source.

    `Table.take` would put all texts of a column into one array.
    """
    first = 0
    for batch in table.to_batches():
        is_here = (first <= places) & (places < first + batch.num_rows)
        rows = pa.Table.from_batches([batch.take(pa.array(places[is_here] - first))])
        yield rows.add_column(0, KNOWN.field(0), pa.array(positions[is_here]))
        first += batch.num_rows


def _find_copies(keys: Keys, unknown: Integers) -> dict[int, int]:
    """Return the unknown positions whose key has occurred at an unknown position before, and it."""
    _, first, which = np.unique(keys[unknown], axis=0, return_index=True, return_inverse=True)
    owners = unknown[first[which.ravel()]]
    is_copy = owners != unknown
    return dict(zip(unknown[is_copy].tolist(), owners[is_copy].tolist(), strict=True))
