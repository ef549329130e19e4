"""Claims: who is making a checkpoint now, so that runs over one store share the work.

A claim saves work and nothing else: whether a checkpoint is there and whole is for the store to
say, and an owner whose claim was broken does no harm by committing late.

An owner holds a claim of the storage, which ends with its process, and renews it every second,
which a stopped process does not do. No clocks are compared: whoever waits looks whether the last
renewal changes at all while its own monotonic clock goes on.
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
    """A checkpoint, and what the store had of it before: with a manifest, it was reused."""

    manifest: Manifest
    found: Found

    @property
    def is_reused(self) -> bool:
        """Whether nothing had to be made."""
        return self.found.manifest is not None


class Claims:
    """What one run is making."""

    def __init__(self, folder: PurePath) -> None:
        self._folder = folder
        self._locks = storage_of(folder).locks
        self._held: set[Claim] = set()
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
        """Return the existing checkpoint, or make it; if another run is making it, wait.

        While it waits, `find` is called again and again; what it raises ends the waiting.

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
    """Breaks a claim whose owner has not touched it for a while, as seen from here."""

    def __init__(self, place: PurePath) -> None:
        self._place, self._locks = place, storage_of(place).locks
        digest, dash, shard = place.name.partition("-")
        self._shown = f"{digest[:12]}{dash}{shard}"  # a fingerprint as it is told elsewhere
        self._renewal: object | None = None
        self._since = time.monotonic()
        self._is_told = False

    def look(self) -> None:
        if not self._is_told:
            logger.info("waiting for another run that is making %s", self._shown)
            self._is_told = True
        renewal, now = self._locks.last_renewal(self._place), time.monotonic()
        if renewal != self._renewal:
            self._renewal, self._since = renewal, now
        elif now - self._since > STALE_SECONDS:
            logger.warning("the run that was making %s does not move", self._shown)
            self._locks.revoke(self._place)
