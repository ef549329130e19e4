"""Keeping columns of rows while they are read for another purpose."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

from tasks.columns.source import Asked, Tap
from tasks.columns.store import ColumnsWriter, Written
from tasks.plan.plan import PlannedCheckpoint
from tasks.store.files import staging_folder
from tasks.store.manifest import Manifest, commit_manifest


class ColumnsKeeper:
    """A context manager that writes the checkpoint of the kept columns.

    `note` is called for each row that is read, and `keep_next` for each in the same order, later.
    Others may write rows instead, in folders below `staging`, and `join` adds them.

    Args:
        planned: the checkpoint.
        asked: `dataset.keep_columns`.
    """

    def __init__(self, planned: PlannedCheckpoint, asked: Asked) -> None:
        self._planned, self._asked = planned, asked
        self._tap = Tap(asked)
        self._stack = ExitStack()
        self.note = self._tap.note

    def __enter__(self) -> Self:
        self.staging = self._stack.enter_context(staging_folder(self._planned.folder))
        self._writer = ColumnsWriter(self.staging, self._asked)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def keep_next(self) -> None:
        """Keep the columns of the first row that was noted, and is not kept yet."""
        self._writer.add(self._tap.waiting.popleft())

    def join(self, written: Written) -> None:
        """Keep the next rows, which others have written below `staging`."""
        self._writer.join(written)

    def finish(self) -> None:
        """Read what is still to be read of the input, after the last row.

        Raises:
            InputError: it cannot be read.
        """
        self._writer.flush()

    def commit(self) -> Manifest:
        """Commit the checkpoint, after `finish`.

        Raises:
            StorageError: the store cannot be written.
        """
        files, details = self._writer.publish(self._planned.folder)
        manifest = Manifest(
            kind="columns",
            fingerprint=self._planned.fingerprint,
            decided_by=self._planned.decided_by,
            files=files,
            details=details.as_dict(),
        )
        commit_manifest(self._planned.manifest_path, manifest)
        return manifest
