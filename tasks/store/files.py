"""Files of a store, written whole or not at all, wherever they are stored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePath

from tasks.errors import StoreCorruptionError
from tasks.store.local import LOCAL
from tasks.store.storage import FileEntry, Storage


def storage_of(_place: PurePath) -> Storage:
    """Return the storage that a place belongs to."""
    return LOCAL


def commit_file(
    place: PurePath,
    write: Callable[[Path], None],
    check: Callable[[Path], None] | None = None,
    setting: str = "store.path",
) -> FileEntry:
    """Make a file whole or not at all: `write` fills a local file, `check` reads it back.

    `setting` is the config key that moves the file elsewhere, for the error message.

    Raises:
        StorageError: the disk is full, read-only or closed to this user; no part is left behind.
    """
    return storage_of(place).commit(place, write, check, setting)


def commit_bytes(place: PurePath, data: bytes) -> FileEntry:
    """Commit a small file whose content is at hand.

    Raises:
        StorageError: it cannot be written.
        StoreCorruptionError: it does not read back as it was written.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    def check(temporary: Path) -> None:
        if temporary.read_bytes() != data:
            raise StoreCorruptionError(f"{place} did not read back as it was written")

    return commit_file(place, write, check)


def staging_folder(folder: PurePath) -> AbstractContextManager[Path]:
    """Return a private local folder for files that will be adopted into `folder`.

    At the end it is gone, and so are the folders made for it that nothing was adopted into.
    """
    return storage_of(folder).stage(folder)


def adopt_file(staged: Path, place: PurePath) -> FileEntry:
    """Commit a finished file of a staging folder under its final name."""
    return storage_of(place).adopt(staged, place)


def describe_file(place: PurePath) -> FileEntry:
    """Return name, size and sha256 of a file as it is now."""
    return storage_of(place).describe(place)
