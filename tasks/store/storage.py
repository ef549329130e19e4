"""The seam between a store and whatever holds its files.

A *place* is the address of a file or a folder in a store: a `PurePath`, which cannot be opened, so
that the type checker refuses to go around the storage. `tasks.store.local` is the one
implementation; another one is a module beside it and a case in `tasks.store.files.storage_of`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePath
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from tasks.errors import DiskError, StorageError


class Record(BaseModel):
    """What the JSON files of a store are made of: immutable, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(Record):
    """One file of a checkpoint: its name in the folder, size in bytes and sha256."""

    name: str
    size: int
    sha256: str


class Claim(Protocol):
    """A place that this process has claimed."""

    def renew(self) -> None:
        """Show whoever waits that the owner is alive."""


class Locks(Protocol):
    """Locks, which are shared or exclusive, and claims, which are exclusive and renewed."""

    def lock(
        self, place: PurePath, *, is_shared: bool, waits: bool
    ) -> AbstractContextManager[bool]:
        """Hold a lock that ends with this process; yields False if it is taken and none waits."""

    def claim(self, place: PurePath) -> AbstractContextManager[Claim | None]:
        """Claim a place that nobody else has claimed; yields None if somebody has."""

    def is_locked(self, place: PurePath) -> bool:
        """Return whether a process holds the lock or the claim of a place."""

    def last_renewal(self, place: PurePath) -> object | None:
        """Return a value that changes when a claim is renewed or made anew; None without one."""

    def revoke(self, place: PurePath) -> None:
        """Delete a claim whose owner does not renew it."""


class Storage(Protocol):
    """Reads, writes, lists and deletes the files of a store.

    All methods raise `StorageError` where something cannot be written, and `OSError` where
    something cannot be read; reading what is not there is a `FileNotFoundError`.
    """

    @property
    def locks(self) -> Locks:
        """The locks of this storage."""

    def read(self, place: PurePath) -> bytes:
        """Return the content of a file."""

    def fetch(self, place: PurePath) -> Path:
        """Return a local path of a file or folder, for programs that read by path."""

    def describe(self, place: PurePath) -> FileEntry:
        """Return name, size and sha256 of a file as it is now."""

    def is_file(self, place: PurePath) -> bool:
        """Return whether there is a file, also behind a link."""

    def exists(self, folder: PurePath) -> bool:
        """Return whether there is a folder, also behind a link."""

    def is_folder(self, place: PurePath) -> bool:
        """Return whether there is a folder of the store's own: no link to another place."""

    def is_link(self, place: PurePath) -> bool:
        """Return whether there is a pointer to another place."""

    def size(self, place: PurePath) -> int:
        """Return the bytes of a file, or of all files below a folder; links are not followed."""

    def list_folder(self, folder: PurePath) -> list[PurePath]:
        """Return what a folder holds, ordered by name; nothing if there is no folder."""

    def commit(
        self,
        place: PurePath,
        write: Callable[[Path], None],
        check: Callable[[Path], None] | None,
        setting: str,
    ) -> FileEntry:
        """Write a file whole or not at all: `write` fills a local file, `check` reads it back.

        `setting` is the config key that moves the file elsewhere, for the error message.
        """

    def stage(self, folder: PurePath) -> AbstractContextManager[Path]:
        """Return a private local folder for files that will be adopted into `folder`."""

    def adopt(self, staged: Path, place: PurePath) -> FileEntry:
        """Commit a finished file of a staging folder under its final name."""

    def append(self, place: PurePath, data: bytes) -> None:
        """Add to the end of a file; a reader may see a part of `data`."""

    def delete(self, place: PurePath, setting: str = "store.path") -> None:
        """Delete a file, a link or a folder; a folder stops existing in one step."""

    def point(self, link: PurePath, name: str) -> None:
        """Make `link` a pointer to its neighbour `name`; there is no moment without a pointer."""

    def resolve(self, place: PurePath) -> PurePath:
        """Return the place that a pointer leads to; any other place as it is, made absolute."""

    def make_root(self, place: PurePath) -> None:
        """Make the folder of a store."""


_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EACCES: "permission denied; choose another place or change its owner",
    errno.EPERM: "permission denied; choose another place or change its owner",
    errno.EIO: "the disk failed; try again, check it, or choose another place",
    errno.ENOLCK: "this file system has no locks; choose another place",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another place",
}


@contextmanager
def storage_faults(place: PurePath, setting: str = "store.path") -> Iterator[None]:
    """Turn the operating system's refusals to write under `place` into a `StorageError`.

    `setting` is the config key that moves `place` elsewhere. Other errors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        kind = DiskError if error.errno == errno.EIO else StorageError
        raise kind(f"cannot write {place}: {remedy} with `{setting}`") from error
