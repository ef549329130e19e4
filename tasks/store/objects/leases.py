"""Leases: locks and claims as objects that their owner renews.

A lease is created by a PUT that fails if the object exists, renewed and taken over by one that
fails if its ETag has changed, so of several processes exactly one succeeds. No clocks are compared:
who waits watches, by its own monotonic clock, whether the ETag changes.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import PurePath
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from tasks.addresses import ObjectPlace
from tasks.errors import StorageError
from tasks.store.objects.bucket import put_if
from tasks.store.objects.faults import object_faults
from tasks.store.storage import STALE_SECONDS

if TYPE_CHECKING:
    from obstore.store import ObjectStore


logger = logging.getLogger("wenti.leases")

RENEW_SECONDS = 3.0
BEAT_SECONDS = 1.0
POLL_SECONDS = 0.5
_EXCLUSIVE = "exclusive"


class Lease:
    """A lease that this process holds, or has lost to another one."""

    def __init__(self, client: ObjectStore, place: ObjectPlace, note: bytes) -> None:
        self._client, self._place, self._note = client, place, note.decode(errors="replace")
        self._token, self._count, self._tag = secrets.token_hex(8), 0, ""
        self._renewed = time.monotonic()
        self.is_held = False

    def take(self) -> bool:
        """Create the lease, or take over a revoked one; return whether it is held."""
        with object_faults(self._place, "claim"):
            try:
                self._put("create")
            except AlreadyExistsError:
                tag, body = _read(self._client, self._place)
                if body.get("token") == self._token:  # the answer to the first try was lost
                    self._held(tag)
                elif body.get("revoked"):
                    with suppress(PreconditionError, FileNotFoundError):  # another was faster
                        self._put(tag)
        return self.is_held

    def renew(self) -> None:
        """Change the ETag, at most every `RENEW_SECONDS`; if it was taken over, it is lost."""
        if self.is_held and time.monotonic() - self._renewed >= RENEW_SECONDS:
            self._count += 1
            # What fails now is tried again a second later; who waits has more patience.
            with suppress(StorageError, FileNotFoundError):
                self._renew()

    def release(self) -> None:
        """Delete the lease, unless another process has taken it over."""
        # Nobody can have taken it over if it was renewed a moment ago.
        if self.is_held and time.monotonic() - self._renewed > STALE_SECONDS / 2:
            with suppress(StorageError, FileNotFoundError):
                self._renew()
        if self.is_held:
            self.is_held = False
            with suppress(StorageError, FileNotFoundError), object_faults(self._place, "delete"):
                obstore.delete(self._client, self._place.key)

    def _renew(self) -> None:
        with object_faults(self._place, "renew"):
            try:
                self._put(self._tag)
            except (PreconditionError, FileNotFoundError):
                tag, body = _read(self._client, self._place)
                self.is_held = body.get("token") == self._token
                if self.is_held:
                    self._held(tag)
                else:
                    logger.warning("%s was taken over by another process", self._place)

    def _put(self, condition: str) -> None:
        """PUT the lease if there is none (`create`), or if it has this ETag."""
        body = {"token": self._token, "count": self._count, "note": self._note}
        self._held(put_if(self._client, self._place.key, json.dumps(body).encode(), condition))

    def _held(self, tag: str) -> None:
        self._tag, self._renewed, self.is_held = tag, time.monotonic(), True


class Watch:
    """Remembers since when the ETags of leases have not changed, by this process's clock."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def is_stale(self, key: str, tag: str) -> bool:
        """Note what a lease looks like now; return whether it is stale."""
        now = time.monotonic()
        with self._lock:
            before = self._seen.get(key)
            if before is None or before[0] != tag:
                self._seen[key] = (tag, now)
                return False
            return now - before[1] > STALE_SECONDS


class LeaseLocks:
    """`Locks` in an object store.

    The lock of a place is a folder of leases: one for each process that shares it, and one named
    `exclusive`. Each side makes its lease first and then looks for the other's, so that at least
    one of the two sees the other.
    """

    poll_seconds = 2.0  # each look is a few requests, which cost money

    def __init__(self, client: ObjectStore) -> None:
        self._client, self._watch = client, Watch()

    @contextmanager
    def lock(self, place: PurePath, *, is_shared: bool, waits: bool) -> Iterator[bool]:
        """Hold a lock until the block ends; yields whether it is held.

        Raises:
            StorageError: the store cannot be used.
        """
        folder = ObjectPlace(place)
        while (held := self._try(folder, is_shared=is_shared)) is None and waits:
            time.sleep(POLL_SECONDS)
        with ExitStack() as stack:
            if held is not None:
                stack.enter_context(_renewing(held))
            yield held is not None

    def _try(self, folder: ObjectPlace, *, is_shared: bool) -> Lease | None:
        name = f"shared-{secrets.token_hex(8)}" if is_shared else _EXCLUSIVE
        lease = Lease(self._client, folder / name, b"")
        others = self._live(folder, {_EXCLUSIVE} if is_shared else None)
        if others or not lease.take():
            return None
        if self._live(folder, {_EXCLUSIVE} if is_shared else None, but=name):
            lease.release()
            return None
        return lease

    def _live(self, folder: ObjectPlace, names: set[str] | None, but: str = "") -> bool:
        """Return whether another process holds a lease of a lock; delete those without an owner.

        For an exclusive lock, it watches leases that may be left behind until that is certain.
        """
        while True:
            tags = {
                name: tag
                for name, tag in self._list(folder).items()
                if name != but and (names is None or name in names)
            }
            first = {
                name: self._watch.is_stale(f"{folder}/{name}", tag) for name, tag in tags.items()
            }
            for name in (name for name, is_stale in first.items() if is_stale):
                with suppress(FileNotFoundError), object_faults(folder / name, "delete"):
                    obstore.delete(self._client, (folder / name).key)
            waiting = [name for name, is_stale in first.items() if not is_stale]
            if not waiting or names is not None or self._has_changed(folder, tags, waiting):
                return bool(waiting)

    def _has_changed(self, folder: ObjectPlace, tags: dict[str, str], names: list[str]) -> bool:
        """Wait a moment; return whether the owner of one of these leases has renewed it."""
        time.sleep(POLL_SECONDS)
        now = self._list(folder)
        return any(now.get(name, tags[name]) != tags[name] for name in names)

    def _list(self, folder: ObjectPlace) -> dict[str, str]:
        with object_faults(folder, "list"):
            found = [one for page in obstore.list(self._client, f"{folder.key}/") for one in page]
        return {one["path"].rpartition("/")[2]: one["e_tag"] or "" for one in found}

    @contextmanager
    def claim(self, place: PurePath, note: bytes = b"") -> Iterator[Lease | None]:
        """Hold a lease with the claim's name until the block ends; None if another has it.

        Raises:
            StorageError: the store cannot be written.
        """
        lease = Lease(self._client, ObjectPlace(place), note)
        if not lease.take():
            yield None
            return
        try:
            yield lease
        finally:
            lease.release()

    def is_claimed(self, place: PurePath) -> bool:
        """Return whether a process holds the claim of a place.

        Whether the owner is alive shows when the lease is renewed, or is not for
        `STALE_SECONDS`. Other claims are watched meanwhile, so that it is waited only once.
        """
        while True:
            tags = self._list(ObjectPlace(place).parent)
            stale = {
                name
                for name, tag in tags.items()
                if self._watch.is_stale(str(place.with_name(name)), tag)
            }
            if place.name not in tags or place.name in stale:
                return False
            if "revoked" in _read_quietly(self._client, ObjectPlace(place)):
                return False
            if self._has_changed(ObjectPlace(place).parent, tags, [place.name]):
                return True

    def read_note(self, place: PurePath) -> bytes:
        """Return the note of a claim; empty if there is none, or it cannot be read."""
        return str(_read_quietly(self._client, ObjectPlace(place)).get("note", "")).encode()

    def last_renewal(self, place: PurePath) -> str | None:
        """Return the ETag of the claim's object, or None without one."""
        try:
            with object_faults(place, "read"):
                return obstore.head(self._client, ObjectPlace(place).key)["e_tag"]
        except FileNotFoundError:
            return None

    def revoke(self, place: PurePath, renewal: object) -> None:
        """Mark a claim as free if its ETag is still `renewal`; the next claim takes it over."""
        free = json.dumps({"revoked": secrets.token_hex(8)}).encode()
        with object_faults(place, "revoke"), suppress(PreconditionError, FileNotFoundError):
            put_if(self._client, ObjectPlace(place).key, free, str(renewal))


@contextmanager
def _renewing(lease: Lease) -> Iterator[None]:
    """Renew a lease in a thread until the block ends, then release it."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(BEAT_SECONDS):
            lease.renew()

    thread = threading.Thread(target=renew, name="wenti lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        lease.release()


def _read(client: ObjectStore, place: ObjectPlace) -> tuple[str, dict[str, object]]:
    """Return ETag and content of a lease; empty ones if there is none."""
    try:
        found = obstore.get(client, place.key)
    except FileNotFoundError:
        return "", {}
    try:
        body = json.loads(bytes(found.bytes()))
    except ValueError:
        body = {}
    return found.meta["e_tag"] or "", body if isinstance(body, dict) else {}


def _read_quietly(client: ObjectStore, place: ObjectPlace) -> dict[str, object]:
    with suppress(StorageError, FileNotFoundError), object_faults(place, "read"):
        return _read(client, place)[1]
    return {}
