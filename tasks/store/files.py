"""Atomic writing of a store's files, whichever storage holds them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePath

from tasks.addresses import ObjectPlace
from tasks.errors import StoreCorruptionError
from tasks.store.local import LOCAL
from tasks.store.objects.connection import open_storage
from tasks.store.storage import FileEntry, Storage


def storage_of(place: PurePath) -> Storage:
    """Return the storage that holds a place.

    Raises:
        InstallationError: it is in an object store, and obstore is not installed.
    """
    return open_storage(place) if isinstance(place, ObjectPlace) else LOCAL


def commit_file(
    place: PurePath,
    write: Callable[[Path], None],
    check: Callable[[Path], None] | None = None,
    setting: str = "store.path",
) -> FileEntry:
    """Write a file completely or not at all.

    Args:
        place: final name of the file; its folder is made if needed.
        write: fills a temporary local file.
        check: reads the temporary file back and raises if it is wrong.
        setting: config key that moves the file elsewhere, for the error message.

    Returns:
        Name, size and sha256 of the file.

    Raises:
        StorageError: the disk is full or read-only, or permission is denied.

    Errors of `write` and `check` pass through. After any error no part of the file is left.
    """
    return storage_of(place).commit(place, write, check, setting)


def commit_bytes(place: PurePath, data: bytes) -> FileEntry:
    """Write a small file completely or not at all; return its name, size and sha256.

    Raises:
        StorageError: the file cannot be written.
        StoreCorruptionError: reading it back gives other bytes.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    def check(temporary: Path) -> None:
        if temporary.read_bytes() != data:
            raise StoreCorruptionError(f"{place} differs from what was written; check the disk")

    return commit_file(place, write, check)


def staging_folder(folder: PurePath) -> AbstractContextManager[Path]:
    """Return a context manager that yields a private local folder for files to be adopted.

    `adopt_file` moves them into `folder`. At the end the staging folder is deleted, as are folders
    that were made for it and stayed empty.

    Raises:
        StorageError: the store cannot be written, here or in the block.
    """
    return storage_of(folder).stage(folder)


def adopt_file(staged: Path, place: PurePath) -> FileEntry:
    """Commit a finished file of a staging folder under its final name.

    Returns:
        Name, size and sha256 of the file.

    Raises:
        OSError: the file cannot be moved; inside a `staging_folder` block it becomes a
            `StorageError`.
    """
    return storage_of(place).adopt(staged, place)


def describe_file(place: PurePath) -> FileEntry:
    """Return the current name, size and sha256 of a file.

    Raises:
        OSError: the file is missing or cannot be read.
    """
    return storage_of(place).describe(place)
