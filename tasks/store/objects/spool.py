"""Files that grow, such as a run's journal: kept here and PUT as a whole every few seconds."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from pathlib import PurePath

from tasks.errors import StorageError

logger = logging.getLogger("wenti.spool")

FLUSH_SECONDS = 5.0
BYTES_A_SECOND = 1 << 20
"""A longer file is written less often, so that its PUTs take a bounded share of the network."""


class Spool:
    """The content of growing files that this process writes.

    Args:
        read: returns what is stored; a missing file is a `FileNotFoundError`.
        put: stores the whole content.
    """

    def __init__(
        self, read: Callable[[PurePath], bytes], put: Callable[[PurePath, bytes], object]
    ) -> None:
        self._read, self._put = read, put
        self._contents: dict[PurePath, bytearray] = {}
        self._unsaved: set[PurePath] = set()
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()  # of the above
        self._saving = threading.RLock()  # so that no older content is stored over a newer one
        atexit.register(self._flush_quietly)

    def append(self, place: PurePath, data: bytes) -> None:
        """Append to a file; it is stored within `FLUSH_SECONDS`, or more if it is long."""
        if place not in self._contents:
            stored = self._stored(place)
            with self._lock:
                self._contents.setdefault(place, bytearray(stored))
        with self._lock:
            self._contents[place] += data
            self._unsaved.add(place)
            if self._timer is None:
                seconds = FLUSH_SECONDS + len(self._contents[place]) / BYTES_A_SECOND
                self._timer = threading.Timer(seconds, self._flush_quietly)
                self._timer.daemon = True
                self._timer.start()

    def flush(self, near: PurePath | None = None) -> None:
        """Store what was appended: everything, or what is at, below or above a place.

        Raises:
            StorageError: it cannot be written; it is kept for the next attempt.
        """
        if not self._unsaved:
            return
        with self._saving:
            with self._lock:
                due = [place for place in self._unsaved if near is None or _touch(place, near)]
                contents = {place: bytes(self._contents[place]) for place in due}
                self._unsaved.difference_update(due)
            while contents:
                place, content = next(iter(contents.items()))
                try:
                    self._put(place, content)
                except StorageError:
                    with self._lock:
                        self._unsaved.update(contents)
                    raise
                del contents[place]

    def forget(self, place: PurePath) -> None:
        """Drop the content of a file, or of all files of a folder, that is deleted."""
        with self._saving, self._lock:
            for one in [one for one in self._contents if one.is_relative_to(place)]:
                del self._contents[one]
                self._unsaved.discard(one)

    def _stored(self, place: PurePath) -> bytes:
        try:
            return self._read(place)
        except FileNotFoundError:
            return b""

    def _flush_quietly(self) -> None:
        with self._lock:
            self._timer = None
        try:
            self.flush()
        except StorageError as error:
            logger.warning("%s", error)


def _touch(place: PurePath, other: PurePath) -> bool:
    return place.is_relative_to(other) or other.is_relative_to(place)
