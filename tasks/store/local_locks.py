"""Locks in a file system: the kernel's, on open files.

They end with their process, however that ends, and spawned children do not inherit them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from tasks.store.storage import storage_faults


class LocalLocks:
    """`Locks` on files."""

    @contextmanager
    def lock(self, place: PurePath, *, is_shared: bool, waits: bool) -> Iterator[bool]:
        """Hold the kernel's lock of a file; yields whether it is held."""
        # Writable, because NFS grants nobody else an exclusive lock.
        descriptor = _open_locked(Path(place), 0o666)
        kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        try:
            if waits:
                fcntl.flock(descriptor, kind)
            yield waits or _try_lock(descriptor, kind)
        finally:
            os.close(descriptor)

    @contextmanager
    def claim(self, place: PurePath) -> Iterator[LocalClaim | None]:
        """Lock a file that bears the claim's name; it is deleted when the claim ends."""
        path = Path(place)
        with storage_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_locked(path, 0o644)
        is_mine = False
        try:
            is_mine = _try_lock(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path)
            yield LocalClaim(descriptor) if is_mine else None
        finally:
            with suppress(OSError):  # a file without a lock on it is no claim
                if is_mine and _is_at(descriptor, path):
                    path.unlink(missing_ok=True)
            os.close(descriptor)

    def is_locked(self, place: PurePath) -> bool:
        """Return whether a process has locked a file.

        Raises:
            StorageError: the file is closed to this user.
        """
        with storage_faults(place), Path(place).open("r+b") as file:
            return not _try_lock(file.fileno(), fcntl.LOCK_EX)

    def last_renewal(self, place: PurePath) -> tuple[int, int] | None:
        """Return inode and time of the claim's file; None without one."""
        try:
            status = Path(place).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def revoke(self, place: PurePath) -> None:
        """Delete the claim's file; the next claim makes and locks a new one."""
        Path(place).unlink(missing_ok=True)


class LocalClaim:
    """A locked file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def renew(self) -> None:
        """Set the file's time to now."""
        os.utime(self._descriptor)


def _open_locked(path: Path, mode: int) -> int:
    with storage_faults(path):
        return os.open(path, os.O_RDWR | os.O_CREAT, mode)


def _try_lock(descriptor: int, kind: int) -> bool:
    """Lock an open file, as `fcntl.LOCK_SH` or `LOCK_EX`, unless that means to wait."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file is still the one of this name, not one that was revoked."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
