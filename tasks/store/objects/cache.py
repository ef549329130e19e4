"""Copies of objects on the node's disk.

A copy is named by its object's address and ETag and by the sha256 of its content, which is checked
before each use, so it is never out of date or damaged. Copies are never written to; they may be
deleted whenever no run uses them, and are when nothing has used them for `KEPT_SECONDS`, or, if
the disk has no room for another one, for `SPARED_SECONDS`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.errors import StorageError
from tasks.store.local import file_sha256
from tasks.system_errors import storage_faults

CACHE_KEY = "store.cache"
KEPT_SECONDS = 14 * 24 * 3600
SPARED_SECONDS = 24 * 3600
"""What was used since then may be needed by a run, however little room there is."""


class Cache:
    """A folder of copies, which processes may share.

    Args:
        folder: of the cache, made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_tidy = False

    def file(self, address: str, tag: str, download: Callable[[Path], None]) -> Path:
        """Return a verified copy of the object with this address and ETag.

        Raises:
            StorageError: the disk of the cache is full or cannot be written.
        """
        folder = self._folder_of(address, tag)
        for copy in sorted(folder.glob("*/*")):
            with suppress(OSError):  # another process is deleting it
                if copy.parent.name == file_sha256(copy):
                    os.utime(copy)
                    return copy
                copy.unlink()
        with self.temporary() as temporary, storage_faults(self._folder, CACHE_KEY):
            fresh = temporary / "object"
            download(fresh)
            return self._move(fresh, folder / file_sha256(fresh), address)

    def has(self, address: str, tag: str) -> bool:
        """Return whether there is a copy, which may be damaged."""
        return any(self._folder_of(address, tag).glob("*/*"))

    def make_room(self, size: int) -> None:
        """Make sure that the disk has room for `size` bytes of copies.

        If it has not, what nothing has used for `SPARED_SECONDS` is deleted.

        Raises:
            StorageError: there is too little room, or the cache cannot be written.
        """
        with storage_faults(self._folder, CACHE_KEY):
            self._folder.mkdir(parents=True, exist_ok=True)
            if size > shutil.disk_usage(self._folder).free:
                self._tidy(SPARED_SECONDS)
            free = shutil.disk_usage(self._folder).free
        if size > free:
            raise StorageError(
                f"{self._folder} needs {size / 1e6:.1f} MB for copies, and has {free / 1e6:.1f} MB "
                f"free; free some space, or choose another place with `{CACHE_KEY}`"
            )

    def keep(self, address: str, tag: str, file: Path, sha256: str) -> None:
        """Move a file that was stored in an object into the cache, if it is on the same disk."""
        with suppress(OSError):
            self._move(file, self._folder_of(address, tag) / sha256, address)

    def folder(self, address: str, tag: str, files: Mapping[str, Path]) -> Path:
        """Return a folder with links to copies of all objects below an address.

        Args:
            address: of the folder; the last name is kept.
            tag: changes with the content of the folder.
            files: the copies, by their names in the folder.
        """
        place = self._folder / "folders" / _digest(f"{address}\n{tag}")
        if files:
            with storage_faults(self._folder, CACHE_KEY):
                for name, copy in files.items():
                    _link(copy, place / _name(address) / name)
                os.utime(place)
        return place / _name(address)

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """Yield a private folder on the disk of the cache, deleted at the end."""
        if not self._is_tidy:
            self._is_tidy = True
            self._tidy()
        folder = self._folder / "unfinished" / f"{os.getpid()}-{secrets.token_hex(4)}"
        with storage_faults(self._folder, CACHE_KEY):
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _folder_of(self, address: str, tag: str) -> Path:
        return self._folder / "files" / _digest(f"{address}\n{tag}")

    @staticmethod
    def _move(file: Path, folder: Path, address: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return file.replace(folder / _name(address))

    def _tidy(self, kept_seconds: float = KEPT_SECONDS) -> None:
        """Delete what nothing has used for so long, and what killed processes have left behind."""
        files = ((copy.parents[1], copy) for copy in self._folder.glob("files/*/*/*"))
        others = [*self._folder.glob("folders/*"), *self._folder.glob("unfinished/*")]
        for folder, used in (*files, *((one, one) for one in others)):
            with suppress(OSError):  # another process is deleting it
                if time.time() - used.stat().st_mtime > kept_seconds:
                    shutil.rmtree(folder)


def _link(copy: Path, name: Path) -> None:
    name.parent.mkdir(parents=True, exist_ok=True)
    if name.exists() and name.samefile(copy):
        return
    temporary = name.with_name(f".{secrets.token_hex(4)}.tmp")
    temporary.hardlink_to(copy)
    temporary.replace(name)


def _name(address: str) -> str:
    return address.rpartition("/")[2]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
