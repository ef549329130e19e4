"""Claims: which run is making a checkpoint, so that runs over one store share the work.

A claim only avoids duplicate work. Correctness does not depend on it: a checkpoint exists if its
manifest verifies, and a process whose claim was revoked does no harm by committing late.

The owner holds a claim in the storage, which ends with its process, and renews it every second,
which a stopped process does not. No clocks are compared: a waiting process watches, by its own
monotonic clock, whether the last renewal changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePath

from tasks.errors import StoppedError
from tasks.store.files import storage_of
from tasks.store.manifest import Found, Manifest
from tasks.store.storage import Claim

logger = logging.getLogger("wenti.claims")

BEAT_SECONDS = 1.0
STALE_SECONDS = 15.0
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Made:
    """A checkpoint, and what was found before: a manifest there means that it was reused."""

    manifest: Manifest
    found: Found

    @property
    def is_reused(self) -> bool:
        """Whether the checkpoint already existed."""
        return self.found.manifest is not None


class Claims:
    """The claims of one run; threads may share it."""

    def __init__(self, folder: PurePath) -> None:
        self._folder = folder
        self._locks = storage_of(folder).locks
        self._held: set[Claim] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[Claims]:
        """Renew the claims in a thread until the block ends; yields this object."""
        threading.Thread(target=self._beat, name="wenti claims", daemon=True).start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop renewing; calls that wait for another run raise `StoppedError`."""
        self._stopped.set()

    def once(self, name: str, find: Callable[[], Found], make: Callable[[], Manifest]) -> Made:
        """Return the existing checkpoint, or make it; if another run is making it, wait.

        Args:
            name: of the claim, shared by all runs that make this checkpoint.
            find: looks the checkpoint up; called again and again while waiting.
            make: makes and commits the checkpoint.

        Raises:
            StoppedError: `stop` was called while waiting.
            StorageError: the store cannot be written.

        Errors of `find` and `make` pass through; one of `find` ends the waiting.
        """
        watch = _Watch(self._folder / name)
        while (made := self.try_once(name, find, make)) is None:
            watch.check()
            if self._stopped.wait(POLL_SECONDS):
                raise StoppedError("the run was stopped")
        return made

    def try_once(
        self, name: str, find: Callable[[], Found], make: Callable[[], Manifest]
    ) -> Made | None:
        """Return the checkpoint as `once` does, or None if another run is making it.

        Raises:
            StorageError: the store cannot be written.
        """
        found = find()
        if found.manifest is not None:
            return Made(found.manifest, found)
        with self._claim(name) as is_mine:
            if not is_mine:
                return None
            # Another owner may have committed it between our first look and our claim.
            again = find()
            return Made(again.manifest or make(), again)

    @contextmanager
    def _claim(self, name: str) -> Iterator[bool]:
        with self._locks.claim(self._folder / name) as claim:
            if claim is None:
                yield False
                return
            with self._lock:
                self._held.add(claim)
            try:
                yield True
            finally:
                with self._lock:
                    self._held.discard(claim)

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            with self._lock, suppress(OSError):
                for claim in self._held:
                    claim.renew()


class _Watch:
    """Revokes a claim that its owner has not renewed for `STALE_SECONDS`."""

    def __init__(self, place: PurePath) -> None:
        self._place, self._locks = place, storage_of(place).locks
        digest, dash, shard = place.name.partition("-")
        self._short_name = f"{digest[:12]}{dash}{shard}"  # fingerprints are shortened like this
        self._renewal: object | None = None
        self._since = time.monotonic()
        self._has_logged = False

    def check(self) -> None:
        if not self._has_logged:
            logger.info("waiting for another run that is making %s", self._short_name)
            self._has_logged = True
        renewal, now = self._locks.last_renewal(self._place), time.monotonic()
        if renewal != self._renewal:
            self._renewal, self._since = renewal, now
        elif now - self._since > STALE_SECONDS:
            logger.warning(
                "the run that is making %s has not responded for %.0f s; taking over",
                self._short_name,
                STALE_SECONDS,
            )
            self._locks.revoke(self._place)
