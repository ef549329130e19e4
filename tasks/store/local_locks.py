"""Locks and claims in a file system, by `flock`.

They end with their process, however it ends, and spawned child processes do not inherit them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from tasks.system_errors import storage_faults


class LocalLocks:
    """`Locks` on files."""

    @contextmanager
    def lock(self, place: PurePath, *, is_shared: bool, waits: bool) -> Iterator[bool]:
        """Hold a file's lock until the block ends; yields whether it is held.

        Raises:
            StorageError: the file cannot be opened, or the file system has no locks.
        """
        # Opened for writing, because NFS requires that for an exclusive lock.
        descriptor = _open_locked(Path(place))
        kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        try:
            with storage_faults(place):
                if waits:
                    fcntl.flock(descriptor, kind)
                is_held = waits or _try_lock(descriptor, kind)
            yield is_held
        finally:
            os.close(descriptor)

    @contextmanager
    def claim(self, place: PurePath) -> Iterator[LocalClaim | None]:
        """Lock a file with the claim's name until the block ends, then delete it.

        Yields None if another process holds the claim.

        Raises:
            StorageError: the file cannot be created.
        """
        path = Path(place)
        with storage_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_locked(path)
        is_mine = False
        try:
            is_mine = _try_lock(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path)
            yield LocalClaim(descriptor) if is_mine else None
        finally:
            with suppress(OSError):  # a file that nobody locks is not a claim
                if is_mine and _is_at(descriptor, path):
                    path.unlink(missing_ok=True)
            os.close(descriptor)

    def is_locked(self, place: PurePath) -> bool:
        """Return whether any process has locked a file.

        Raises:
            StorageError: permission is denied.
            FileNotFoundError: there is no such file.
        """
        with storage_faults(place), Path(place).open("r+b") as file:
            return not _try_lock(file.fileno(), fcntl.LOCK_EX)

    def last_renewal(self, place: PurePath) -> tuple[int, int] | None:
        """Return inode and modification time (ns) of the claim's file, or None without one."""
        try:
            status = Path(place).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def revoke(self, place: PurePath) -> None:
        """Delete the claim's file; the next claim creates and locks a new one."""
        Path(place).unlink(missing_ok=True)


class LocalClaim:
    """A locked file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def renew(self) -> None:
        """Set the file's modification time to now."""
        os.utime(self._descriptor)


def _open_locked(path: Path) -> int:
    with storage_faults(path):
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # for a group, if the umask allows it


def _try_lock(descriptor: int, kind: int) -> bool:
    """Lock an open file with `fcntl.LOCK_SH` or `LOCK_EX` without waiting; return whether it is."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file still has this name: false after it was revoked."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
