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

    poll_seconds = 0.25

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
    def claim(self, place: PurePath, note: bytes = b"") -> Iterator[LocalClaim | None]:
        """Lock a file with the claim's name until the block ends, then delete it.

        The file contains `note`. Yields None if another process holds the claim.

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
            if is_mine:
                _write_note(descriptor, note)
            yield LocalClaim(descriptor) if is_mine else None
        finally:
            with suppress(OSError):  # a file that nobody locks is not a claim
                if is_mine and _is_at(descriptor, path):
                    path.unlink(missing_ok=True)
            os.close(descriptor)

    def is_claimed(self, place: PurePath) -> bool:
        """Return whether a process holds the claim of a place.

        Raises:
            StorageError: permission is denied.
        """
        try:
            # Shared, because that needs no permission to write: the owner may be another user.
            with storage_faults(place), Path(place).open("rb") as file:
                return not _try_lock(file.fileno(), fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def read_note(self, place: PurePath) -> bytes:
        """Return the note of a claim; empty if there is none, or it cannot be read."""
        try:
            return Path(place).read_bytes()
        except OSError:
            return b""

    def last_renewal(self, place: PurePath) -> tuple[int, int] | None:
        """Return inode and modification time (ns) of the claim's file, or None without one."""
        try:
            status = Path(place).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def revoke(self, place: PurePath, renewal: object) -> None:
        """Delete the claim's file, unless it was renewed; the next claim makes a new one."""
        if self.last_renewal(place) == renewal:
            Path(place).unlink(missing_ok=True)


class LocalClaim:
    """A locked file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def renew(self) -> None:
        """Set the file's modification time to now."""
        os.utime(self._descriptor)


@contextmanager
def holding_folder(folder: Path, *, waits: bool) -> Iterator[bool]:
    """Hold the lock of a folder until the block ends; yields whether it is held.

    It is not where the file system, such as NFS, has no locks of folders, or permission is denied.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        yield False
        return
    try:
        is_held = False
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            is_held = True
        yield is_held
    finally:
        os.close(descriptor)


def _open_locked(path: Path) -> int:
    with storage_faults(path):
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # for a group, if the umask allows it


def _write_note(descriptor: int, note: bytes) -> None:
    """Replace the content of a claim's file; a note is not worth failing a claim."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note, 0)


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
