"""The interface between a store and what holds its files.

A *place* is the address of a file or a folder in a store. It is a `PurePath`, which cannot be
opened, so the type checker rejects code that bypasses the storage. `tasks.store.local` implements
it in a file system, `tasks.store.objects` in an object store, whose places are `ObjectPlace`s;
`tasks.store.files.storage_of` chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePath
from typing import Protocol

from pydantic import BaseModel, ConfigDict

STALE_SECONDS = 15.0
"""A claim that was not renewed for so long has no owner any more."""


class Record(BaseModel):
    """Base of the JSON files of a store: immutable, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(Record):
    """One file of a checkpoint: its name in the folder, its size in bytes, its sha256 in hex."""

    name: str
    size: int
    sha256: str


class Claim(Protocol):
    """A place that this process has claimed."""

    def renew(self) -> None:
        """Show waiting processes that the owner is alive."""


class Locks(Protocol):
    """Locks, shared or exclusive, and claims, which are exclusive and have to be renewed.

    Attributes:
        poll_seconds: how long a process waits before it looks again at what another one makes.
    """

    poll_seconds: float

    def lock(
        self, place: PurePath, *, is_shared: bool, waits: bool
    ) -> AbstractContextManager[bool]:
        """Return a context manager that holds a lock; it yields whether the lock is held.

        The lock ends with the block or with this process. If another process holds it and `waits`
        is false, the block is entered without it.
        """

    def claim(self, place: PurePath, note: bytes = b"") -> AbstractContextManager[Claim | None]:
        """Return a context manager that claims a place; it yields None if another process has.

        `note` tells others who has claimed it.
        """

    def is_claimed(self, place: PurePath) -> bool:
        """Return whether a process holds the claim of a place."""

    def read_note(self, place: PurePath) -> bytes:
        """Return the note of a claim; empty if there is none."""

    def last_renewal(self, place: PurePath) -> object | None:
        """Return a value that changes when a claim is renewed or replaced; None without one."""

    def revoke(self, place: PurePath, renewal: object) -> None:
        """Free a claim whose owner no longer renews it, unless `renewal` is not its last one."""


class Storage(Protocol):
    """Reads, writes, lists and deletes the files of a store.

    All methods raise `StorageError` if something cannot be written and `OSError` if something
    cannot be read; reading what does not exist is a `FileNotFoundError`; where the storage
    itself fails, reading raises `StorageError`, too. `append`, and `adopt`
    outside a `stage` block, raise `OSError` for writing too.
    """

    @property
    def locks(self) -> Locks:
        """The locks of this storage."""

    def read(self, place: PurePath) -> bytes:
        """Return the content of a file."""

    def fetch(self, place: PurePath) -> Path:
        """Return a local path of a file or folder, for programs that read by path."""

    def describe(self, place: PurePath) -> FileEntry:
        """Return the current name, size and sha256 of a file."""

    def is_file(self, place: PurePath) -> bool:
        """Return whether this is a file; pointers are followed."""

    def exists(self, folder: PurePath) -> bool:
        """Return whether this is a folder; pointers are followed."""

    def is_folder(self, place: PurePath) -> bool:
        """Return whether this is a folder and not a pointer to one."""

    def is_link(self, place: PurePath) -> bool:
        """Return whether this is a pointer to another place."""

    def is_recent(self, place: PurePath) -> bool:
        """Return whether it is so new that gc keeps it, because a lock may not keep gc out."""

    def size(self, place: PurePath) -> int:
        """Return the size in bytes of a file or of all files below a folder.

        Pointers are not followed.
        """

    def list_folder(self, folder: PurePath) -> list[PurePath]:
        """Return the entries of a folder, sorted by name; an empty list if there is no folder."""

    def commit(
        self,
        place: PurePath,
        write: Callable[[Path], None],
        check: Callable[[Path], None] | None,
        setting: str,
    ) -> FileEntry:
        """Write a file completely or not at all; see `tasks.store.files.commit_file`."""

    def stage(self, folder: PurePath) -> AbstractContextManager[Path]:
        """Return a context manager that yields a private local folder.

        Its files can be adopted into `folder`. At the end it is deleted.
        """

    def adopt(self, staged: Path, place: PurePath) -> FileEntry:
        """Commit a finished file of a staging folder under its final name."""

    def append(self, place: PurePath, data: bytes) -> None:
        """Append to a file, not atomically: a reader may see a part of `data`."""

    def delete(self, place: PurePath) -> None:
        """Delete a file, a pointer or a folder with all its content, in one step."""

    def delete_file(self, place: PurePath, setting: str) -> None:
        """Delete a file or a pointer, if it exists, but never a folder."""

    def point(self, link: PurePath, name: str) -> None:
        """Make `link` a pointer to `name` in the same folder, replacing an old one atomically."""

    def resolve(self, place: PurePath) -> PurePath:
        """Return the absolute place that a pointer leads to; any other place is made absolute."""

    def make_root(self, place: PurePath) -> None:
        """Make the folder of a store."""
