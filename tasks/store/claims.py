"""Claims: who is making a checkpoint now, so that runs over one store share the work.

A claim saves work and nothing else: whether a checkpoint is there and whole is for the store to
say, and an owner whose claim was broken does no harm by committing late.

An owner holds a lock on the claim's file, which the kernel frees when the owner dies, and touches
the file every second, which an owner that is stopped does not do. No clocks are compared: who waits
looks whether the file's time changes at all while its own monotonic clock goes on.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import StoppedError
from tasks.store.files import storage_faults
from tasks.store.lock import try_lock
from tasks.store.manifest import Found, Manifest

logger = logging.getLogger("wenti.claims")

BEAT_SECONDS = 1.0
STALE_SECONDS = 15.0
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Made:
    """A checkpoint, and what the store had of it before: with a manifest, it was reused."""

    manifest: Manifest
    found: Found

    @property
    def is_reused(self) -> bool:
        """Whether nothing had to be made."""
        return self.found.manifest is not None


class Claims:
    """What one run is making."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: set[int] = set()  # descriptors of the locked files
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[Claims]:
        """Keep the claims fresh as long as the run lasts."""
        threading.Thread(target=self._beat, name="wenti claims", daemon=True).start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """End the beat; who waits for another run gets a `StoppedError`."""
        self._stopped.set()

    def once(self, name: str, find: Callable[[], Found], make: Callable[[], Manifest]) -> Made:
        """Give the checkpoint that `find` finds or else `make` makes; waits for who is at it.

        Raises:
            StoppedError: this run ends.
            StorageError: the store cannot be written.
        """
        watch = _Watch(self._folder / name)
        while (made := self.try_once(name, find, make)) is None:
            watch.look()
            if self._stopped.wait(POLL_SECONDS):
                raise StoppedError("the run was stopped")
        return made

    def try_once(
        self, name: str, find: Callable[[], Found], make: Callable[[], Manifest]
    ) -> Made | None:
        """Give the checkpoint as `once` does, but None at once when another run is making it."""
        found = find()
        if found.manifest is not None:
            return Made(found.manifest, found)
        with self._claim(name) as is_mine:
            if not is_mine:
                return None
            # Committed by its last owner, perhaps, between our look and our claim.
            again = find()
            return Made(again.manifest or make(), again)

    @contextmanager
    def _claim(self, name: str) -> Iterator[bool]:
        path = self._folder / name
        with storage_faults(path, "store.path"):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        is_mine = False
        try:
            is_mine = try_lock(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path)
            if is_mine:
                with self._lock:
                    self._held.add(descriptor)
            yield is_mine
        finally:
            with self._lock:
                self._held.discard(descriptor)
            with suppress(OSError):  # a file without a lock on it is no claim
                if is_mine and _is_at(descriptor, path):
                    path.unlink(missing_ok=True)
            os.close(descriptor)

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            with self._lock, suppress(OSError):
                for descriptor in self._held:
                    os.utime(descriptor)


class _Watch:
    """Breaks a claim whose owner has not touched it for a while, as seen from here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        digest, dash, shard = path.name.partition("-")
        self._shown = f"{digest[:12]}{dash}{shard}"  # a fingerprint as it is told elsewhere
        self._beat: tuple[int, int] | None = None
        self._since = time.monotonic()
        self._is_told = False

    def look(self) -> None:
        if not self._is_told:
            logger.info("waiting for another run that is making %s", self._shown)
            self._is_told = True
        beat, now = _last_beat(self._path), time.monotonic()
        if beat != self._beat:
            self._beat, self._since = beat, now
        elif now - self._since > STALE_SECONDS:
            logger.warning("the run that was making %s does not move", self._shown)
            self._path.unlink(missing_ok=True)  # the next try makes and locks a new file


def _last_beat(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the open file is still the one of this name, not one that was broken."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
