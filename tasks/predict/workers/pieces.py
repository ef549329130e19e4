"""Pieces: the batches of an open shard that are done, committed from time to time.

If everything is killed, the next run goes on after the last piece. The shard's commit makes its
pieces superfluous and removes them; what is left of them is removed by gc.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import PurePath
from typing import Any

from tasks.errors import StorageError, StoreCorruptionError
from tasks.predict.jobs import ShardJob
from tasks.store.files import storage_of
from tasks.store.manifest import (
    Details,
    Manifest,
    commit_manifest,
    find_checkpoint,
    fingerprint,
)
from tasks.store.tables import SHARD, commit_table, iterate_rows, make_batches

Answer = dict[str, Any]
"""The columns of `tasks.store.tables.SHARD` of one row, without `row` and `id`."""


class PieceDetails(Details):
    """What a piece's manifest says of its rows: their positions in the shard, batch by batch."""

    batches: list[list[int]]


@dataclass(frozen=True)
class Piece:
    """Batches that are done, and the answers of their rows."""

    batches: list[list[int]]
    answers: Mapping[int, Answer]


class Pieces:
    """The pieces of one shard; `read` comes first."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job
        self._names: list[str] = []  # of the Parquet files, by the number of the piece
        self._due = time.monotonic() + job.stage.commit_seconds

    @property
    def is_due(self) -> bool:
        """Whether the last piece is so old that the next one is to be committed."""
        return time.monotonic() >= self._due

    def read(self) -> Iterator[Piece]:
        """Yield the pieces that the store has, up to one that is damaged or missing."""
        for number in count():
            manifest = find_checkpoint(
                self._manifest_path(number), self._job.stage.fingerprint
            ).manifest
            # All pieces have one fingerprint: what tells them apart are the names of their files.
            if manifest is None or not manifest.files[0].name.startswith(f"{self._stem}-"):
                return
            self._names.append(manifest.files[0].name)
            with suppress(StoreCorruptionError):
                yield self._read(manifest)

    def commit(self, rows: Sequence[Mapping[str, Any]], piece: Piece) -> None:
        """Write a piece; `rows` has `row` and `id` of every row of the shard.

        Raises:
            StorageError: it cannot be written.
        """
        job, digest = self._job, fingerprint({"batches": piece.batches})
        positions = [position for batch in piece.batches for position in batch]
        records = ({**rows[position], **piece.answers[position]} for position in positions)
        path = job.stage.folder / f"{self._stem}-{digest[:8]}.parquet"
        entry = commit_table(path, SHARD, make_batches(records, SHARD))
        manifest = Manifest(
            kind="piece",
            fingerprint=job.stage.fingerprint,
            decided_by=job.stage.decided_by,
            files=(entry,),
            details=PieceDetails(batches=piece.batches).as_dict(),
        )
        commit_manifest(self._manifest_path(len(self._names)), manifest)
        self._names.append(entry.name)
        self._due = time.monotonic() + job.stage.commit_seconds

    def remove(self) -> None:
        """Remove all pieces; what cannot be removed is left to gc.

        The last one is removed first, so that those before it are still found if this is killed.
        """
        with suppress(StorageError, OSError):
            while self._names:
                number = len(self._names) - 1
                path = self._manifest_path(number)
                storage_of(path).delete(path)
                storage_of(path).delete(path.with_name(self._names.pop()))

    def remove_folder(self) -> None:
        """Remove the folder, if pieces were found there: of pieces that are found by their rows.

        What cannot be removed is left to gc.
        """
        if self._names:
            folder = self._job.stage.folder
            with suppress(StorageError, OSError):
                storage_of(folder).delete(folder)

    def _read(self, manifest: Manifest) -> Piece:
        batches = PieceDetails.of(manifest).batches
        positions = (position for batch in batches for position in batch)
        rows = iterate_rows(self._job.stage.folder / manifest.files[0].name)
        columns = SHARD.names[2:]  # without `row` and `id`
        answers = {
            at: {name: row[name] for name in columns}
            for at, row in zip(positions, rows, strict=True)
        }
        return Piece(batches, answers)

    @property
    def _stem(self) -> str:
        return self._job.shard.piece_name

    def _manifest_path(self, number: int) -> PurePath:
        return self._job.stage.folder / f"{self._stem}-{number:04d}.json"
