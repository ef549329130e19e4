"""How far the predict stage is: the workers report, whoever started the run decides how to show it.

A flow's parameters must be plain values, so the listener is set around the call of the flow.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

logger = logging.getLogger("wenti.progress")


class Progress(Protocol):
    """Hears how many rows there are to generate, and how many more are done."""

    def start(self, rows: int) -> None:
        """Take the number of rows to generate."""

    def advance(self, rows: int) -> None:
        """Take a number of rows that are done; called from several threads."""


class LoggedProgress:
    """Writes a log line every `batches_between` batches, as the script's `--logging_steps`."""

    def __init__(self, batches_between: int) -> None:
        self._between = batches_between
        self._lock = threading.Lock()
        self._rows = self._done = self._batches = 0
        self._started = time.monotonic()

    def start(self, rows: int) -> None:
        """Take the number of rows to generate."""
        self._rows, self._started = rows, time.monotonic()

    def advance(self, rows: int) -> None:
        """Take a number of rows that are done."""
        with self._lock:
            self._done += rows
            self._batches += 1
            is_due = self._batches % self._between == 0
            done, batches = self._done, self._batches
        if is_due:
            speed = done / (time.monotonic() - self._started)
            message = "predict: %d of %d rows, %d batches, %.1f rows a second"
            logger.info(message, done, self._rows, batches, speed)


_listener: Progress | None = None


@contextmanager
def listen(progress: Progress) -> Iterator[None]:
    """Have `progress` hear of every run that is started in this block."""
    global _listener
    before, _listener = _listener, progress
    try:
        yield
    finally:
        _listener = before


def listener(batches_between: int) -> Progress:
    """Give the listener that was set, or one that writes log lines."""
    return _listener or LoggedProgress(batches_between)
