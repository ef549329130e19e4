"""Files of a store: written whole or not at all, and their sha256."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.errors import DiskError, StorageError, StoreCorruptionError

_STORAGE_REMEDIES = {
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
def storage_faults(path: Path, setting: str) -> Iterator[None]:
    """Turn the operating system's refusals to write under `path` into a `StorageError`.

    `setting` is the config key that moves `path` elsewhere. Other errors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        remedy = _STORAGE_REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        kind = DiskError if error.errno == errno.EIO else StorageError
        raise kind(f"cannot write {path}: {remedy} with `{setting}`") from error


_READ_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Give the sha256 (64 hex digits) of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Record):
    """One file of a checkpoint: its name in the folder, size in bytes and sha256."""

    name: str
    size: int
    sha256: str


def describe_file(path: Path) -> FileEntry:
    """Give the entry of a file as it is now."""
    return FileEntry(name=path.name, size=path.stat().st_size, sha256=file_sha256(path))


def commit_file(
    path: Path,
    write: Callable[[Path], None],
    check: Callable[[Path], None] | None = None,
    setting: str = "store.path",
) -> FileEntry:
    """Make `path` whole or not at all: `write` fills a temporary file, `check` reads it back.

    `setting` is the config key that moves the file elsewhere, for the message when it cannot be
    written.

    Raises:
        StorageError: the disk is full, read-only or closed to this user; no part is left behind.
    """
    with storage_faults(path, setting):
        _make_folder(path.parent)
        temporary = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        try:
            write(temporary)
            _fsync(temporary)
            if check is not None:
                check(temporary)
            entry = describe_file(temporary).model_copy(update={"name": path.name})
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # never made, or a bad disk: the first error says why
                temporary.unlink()
            raise
        _fsync(path.parent)
    return entry


def commit_bytes(path: Path, data: bytes) -> FileEntry:
    """Commit a small file whose content is at hand."""

    def check(temporary: Path) -> None:
        if temporary.read_bytes() != data:
            raise StoreCorruptionError(f"{path} did not read back as it was written")

    return commit_file(path, lambda temporary: _write_bytes(temporary, data), check)


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Give a private folder inside `folder` for files whose names or number are not final yet.

    At the end it is gone, and so are the folders made for it that nothing was adopted into.
    """
    missing = _missing_folders(folder)
    with storage_faults(folder, "store.path"):
        try:
            _make_folder(folder)
            staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder))
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        finally:
            for one in missing:
                with suppress(OSError):  # not empty, or never made
                    one.rmdir()


def adopt_file(staged: Path, path: Path) -> FileEntry:
    """Commit a file that stands ready in a staging folder under its final name."""
    _fsync(staged)
    entry = describe_file(staged).model_copy(update={"name": path.name})
    staged.replace(path)
    _fsync(path.parent)
    return entry


def _missing_folders(folder: Path) -> list[Path]:
    """Give the folder and its parents as far as they are not there, the innermost first."""
    return [one for one in (folder, *folder.parents) if not one.exists()]


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents so that they outlive a power cut, as what goes into them."""
    missing = _missing_folders(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        _fsync(one.parent)


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
