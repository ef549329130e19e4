"""Shards: cutting rows into them, finding them in a folder, and reading them back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from tasks.errors import StorageError, StoreCorruptionError
from tasks.runs.journal import RowCounts
from tasks.store.files import storage_of
from tasks.store.manifest import Details, Found, Manifest, find_checkpoint
from tasks.store.tables import SHARD, read_batches

READ_AT_ONCE = 16
"""Shards: an object store takes some 30 ms for each, a disk is fastest with several."""

FOUND_AT_A_TIME = 1024

_PIECE = re.compile(r"piece-(\d+-of-\d+)-")


class RejectRow(BaseModel):
    """A row that broke the engine, in the columns of `tasks.store.tables.REJECTS`."""

    model_config = ConfigDict(frozen=True)

    row: int
    line: int | None
    id: str | None
    reason: str
    detail: str


class ShardDetails(Details):
    """What a shard's manifest says of its rows.

    Attributes:
        rows: rows that have questions.
        batches: batches that were generated.
        input_tokens: tokens of the rows that were generated, without padding.
        padded_tokens: tokens of the batches, with padding.
        output_tokens: tokens of the best question of each row.
        rejects: rows that broke the engine, in order.
        copies: rows that got the questions of an equal row of the shard.
        known: number of rows whose questions the store had, by the fingerprint of the predictions
            that they come from.
    """

    rows: int
    batches: int
    input_tokens: int
    padded_tokens: int
    output_tokens: int
    rejects: list[RejectRow]
    copies: int = 0
    known: dict[str, int] = Field(default_factory=dict)

    @property
    def rows_reused(self) -> int:
        """How many rows got their questions without being generated."""
        return self.copies + sum(self.known.values())

    @property
    def row_counts(self) -> RowCounts:
        """The counts for the run's journal."""
        return RowCounts(self.rows, len(self.rejects))


def has_shards(folder: PurePath) -> bool:
    """Return whether there is any shard in a folder of predictions, damaged or not.

    A folder that this user may not read counts as empty.
    """
    places: list[PurePath] = []
    with suppress(StorageError):
        places = storage_of(folder).list_folder(folder)
    return any(map(is_shard_manifest, places))


def is_shard_manifest(place: PurePath) -> bool:
    """Return whether a file of a folder of predictions is a shard's manifest, by its name."""
    return place.name.startswith("shard-") and place.suffix == ".json"


def is_piece_manifest(place: PurePath) -> bool:
    """Return whether a file of a folder of predictions is a piece's manifest, by its name."""
    return place.name.startswith("piece-") and place.suffix == ".json"


def shard_of_piece(place: PurePath) -> PurePath | None:
    """Return the manifest of the shard that a file is a piece of, by its name; None for others."""
    found = _PIECE.match(place.name)
    return place.with_name(f"shard-{found[1]}.json") if found else None


def find_shard(folder: PurePath, shard: Shard, fingerprint: str) -> Found:
    """Find a shard as `find_checkpoint` does; the manifest of another shard counts as damage."""
    found = find_checkpoint(folder / shard.manifest_name, fingerprint)
    # All shards have one fingerprint: what tells them apart are the names of their files.
    if found.manifest is not None and not found.manifest.files[0].name.startswith(shard.name):
        return Found(None, f"{folder / shard.manifest_name} belongs to another shard")
    return found


def find_shards(folder: PurePath, shards: Sequence[Shard], fingerprint: str) -> Iterator[Found]:
    """Yield for each shard, in their order, what `find_shard` returns.

    The folder is listed once, since an object store takes as long to say that there is no object
    as to send one, and several shards are read at a time.
    """
    names = _list_names(folder)

    def find(shard: Shard) -> Found:
        is_there = names is None or shard.manifest_name in names
        return find_shard(folder, shard, fingerprint) if is_there else Found(None)

    with ThreadPoolExecutor(READ_AT_ONCE, "find shards") as threads:
        for first in range(0, len(shards), FOUND_AT_A_TIME):
            yield from threads.map(find, shards[first : first + FOUND_AT_A_TIME])


def _list_names(folder: PurePath) -> frozenset[str] | None:
    """Return the names of the manifests in a folder; None if it cannot be listed."""
    with suppress(StorageError):
        places = storage_of(folder).list_folder(folder)
        return frozenset(place.name for place in places if is_shard_manifest(place))
    return None


def read_shard(
    folder: PurePath, manifest: Manifest, parts: Iterable[pa.Table]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield for each part of the dataset the shard's rows, and the part's rows that they answer.

    `parts` are the dataset's rows of the shard, with the columns `row`, `id` and any others of
    `tasks.store.tables.DATASET`; the manifest names those that the shard rejects.

    Raises:
        StoreCorruptionError: it cannot be read, or holds other rows than these.
    """
    path = folder / manifest.files[0].name
    shard = pa.Table.from_batches(read_batches(path), schema=SHARD)
    rejected = pa.array([reject.row for reject in ShardDetails.of(manifest).rejects], pa.int64())
    done = 0
    for part in parts:
        is_rejected = pc.is_in(part["row"], value_set=rejected)
        answered = part.filter(pc.invert(is_rejected)) if pc.any(is_rejected).as_py() else part
        rows = shard.slice(done, answered.num_rows)
        for name in ("row", "id"):
            if not rows[name].equals(answered[name]):
                raise StoreCorruptionError(f"{path} holds other rows than the dataset ({name})")
        yield rows, answered
        done += answered.num_rows
    if done != shard.num_rows:
        raise StoreCorruptionError(f"{path} holds more rows than the dataset")


@dataclass(frozen=True)
class Shard:
    """Rows [start, stop) of the accepted rows, as number `index` of `count` shards."""

    index: int
    count: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many rows it has, rejects included."""
        return self.stop - self.start

    @property
    def name(self) -> str:
        """Name of its files, without their suffix."""
        return f"shard-{self.index:05d}-of-{self.count:05d}"

    @property
    def piece_name(self) -> str:
        """How the names of its pieces begin (`tasks.predict.workers.pieces`)."""
        return f"piece{self.name.removeprefix('shard')}"

    @property
    def file_name(self) -> str:
        """Name of its Parquet file, if it was made of the planned batches."""
        return f"{self.name}.parquet"

    @property
    def manifest_name(self) -> str:
        """Name of its manifest."""
        return f"{self.name}.json"

    def claim(self, fingerprint: str) -> str:
        """Return the name of the claim that a run holds while it makes the shard."""
        return f"{fingerprint}-{self.name}"


def plan_shards(rows: int, rows_per_shard: int) -> list[Shard]:
    """Return contiguous ranges of `rows_per_shard` of `rows` rows; the last may be shorter."""
    starts = range(0, rows, rows_per_shard)
    return [
        Shard(index, len(starts), start, min(start + rows_per_shard, rows))
        for index, start in enumerate(starts)
    ]
