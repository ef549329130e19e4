"""Claims: which run is making a checkpoint, so that runs over one store share the work.

A claim only avoids duplicate work. Correctness does not depend on it: a checkpoint exists if its
manifest verifies, and a process whose claim was revoked does no harm by committing late.

The owner holds a claim in the storage, which ends with its process, and renews it every second,
which a stopped process does not. No clocks are compared: a waiting process watches, by its own
monotonic clock, whether the last renewal changes.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

from pydantic import BaseModel, ConfigDict

from tasks.errors import StoppedError, StorageError
from tasks.store.files import storage_of
from tasks.store.manifest import Found, Manifest
from tasks.store.storage import STALE_SECONDS, Claim

logger = logging.getLogger("wenti.claims")

BEAT_SECONDS = 1.0


class Owner(BaseModel):
    """Who holds a claim, as far as it says so.

    Attributes:
        run: id of the run; None if it is no run, such as `wenti export`.
        host: name of its machine.
        process: id of its process.
        since: when it claimed, in UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True)

    run: str | None = None
    host: str | None = None
    process: int | None = None
    since: str | None = None

    def __str__(self) -> str:
        """Return who it is and since when."""
        who = f"run {self.run}" if self.run else "another process"
        where = f" on {self.host}" if self.host else ""
        return f"{who}{where}" + (f" since {self.since}" if self.since else "")


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
    """The claims of one run; threads may share it.

    Args:
        folder: holds the claims of all runs over the store.
        run_id: id of the run, which claims this name for itself while it is beating; None for a
            process that is no run.
    """

    def __init__(self, folder: PurePath, run_id: str | None = None) -> None:
        self._folder, self._run_id = folder, run_id
        self._locks = storage_of(folder).locks
        self._held: set[Claim] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[Claims]:
        """Renew the claims in a thread until the block ends; yields this object.

        Raises:
            StorageError: the store cannot be written.
        """
        threading.Thread(target=self._beat, name="wenti claims", daemon=True).start()
        with ExitStack() as stack:
            stack.callback(self.stop)
            if self._run_id is not None:
                stack.enter_context(self._claim(self._run_id))
            yield self

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
            StoppedError: `stop` was called.
            StorageError: the store cannot be written.

        Errors of `find` and `make` pass through; one of `find` ends the waiting.
        """
        watch = _Watch(self._folder / name)
        while (made := self.try_once(name, find, make)) is None:
            watch.check()
            self._stopped.wait(self._locks.poll_seconds)
        return made

    def try_once(
        self, name: str, find: Callable[[], Found], make: Callable[[], Manifest]
    ) -> Made | None:
        """Return the checkpoint as `once` does, or None if another run is making it.

        Raises:
            StoppedError: `stop` was called.
            StorageError: the store cannot be written.
        """
        self._check()
        found = find()
        if found.manifest is not None:
            return Made(found.manifest, found)
        with self._claim(name) as is_mine:
            if not is_mine:
                return None
            # Another owner may have committed it between our first look and our claim.
            again = find()
            return Made(again.manifest or self._make(make), again)

    def _make(self, make: Callable[[], Manifest]) -> Manifest:
        try:
            return make()
        except Exception as error:
            self._check(error)  # stopping ends child processes; nobody must try again
            raise

    def _check(self, cause: Exception | None = None) -> None:
        if self._stopped.is_set():
            raise StoppedError("the run was stopped") from cause

    @contextmanager
    def _claim(self, name: str) -> Iterator[bool]:
        with self._locks.claim(self._folder / name, self._note()) as claim:
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

    def _note(self) -> bytes:
        owner = Owner(
            run=self._run_id,
            host=platform.node(),
            process=os.getpid(),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return owner.model_dump_json().encode()

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
            owner = find_owner(self._place) or "another run"
            logger.info("waiting for %s, in work by %s", self._short_name, owner)
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
            self._locks.revoke(self._place, renewal)


def find_owner(place: PurePath) -> Owner | None:
    """Return who holds a claim; None if nobody does. If this user may not know, all is unknown."""
    locks = storage_of(place).locks
    try:
        is_claimed = locks.is_claimed(place)
    except StorageError:
        return Owner()
    return _parse_note(locks.read_note(place)) if is_claimed else None


def _parse_note(note: bytes) -> Owner:
    try:
        return Owner.model_validate_json(note)
    except ValueError:  # empty, or by another version
        return Owner()
