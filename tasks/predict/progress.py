"""How far the predict stage is: the workers report, whoever started the run decides how to show it.

A flow's parameters must be plain values, so the listener is set around the call of the flow.
"""

from __future__ import annotations

import itertools
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
        """Take a number of rows that are done; called from several threads.

        A number below 0 takes back rows of a shard that is tried again.
        """


class Pace:
    """How far the rows are, how fast, and how long the rest will take."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows = self._done = 0
        self._started = time.monotonic()

    def start(self, rows: int) -> None:
        """Take the number of rows to generate."""
        self._rows, self._started = rows, time.monotonic()

    def advance(self, rows: int) -> None:
        """Take a number of rows that are done; called from several threads."""
        with self._lock:
            self._done += rows

    @property
    def percent(self) -> float:
        """The share of the rows that is done, 0 to 100."""
        return 100 * self._done / self._rows if self._rows else 0.0

    def __str__(self) -> str:
        """Give rows, before the end about how many seconds are left, and rows a second."""
        done, rows = self._done, self._rows
        speed = done / (time.monotonic() - self._started)
        left = f", about {(rows - done) / speed:,.0f} s left" if 0 < done < rows else ""
        return f"{done:,} of {rows:,} rows{left}, {speed:,.1f} rows a second"


class LoggedProgress(Pace):
    """Writes a log line every `batches_between` batches, as the script's `--logging_steps`."""

    def __init__(self, batches_between: int) -> None:
        super().__init__()
        self._batches = itertools.count(1)
        self._between = batches_between

    def advance(self, rows: int) -> None:
        """Take a number of rows that are done."""
        super().advance(rows)
        batches = next(self._batches)
        if batches % self._between == 0:
            logger.info("predict: %s; %d batches", self, batches)


class Several:
    """Hands on what it hears."""

    def __init__(self, *listeners: Progress) -> None:
        self._listeners = listeners

    def start(self, rows: int) -> None:
        """Tell every listener."""
        for listener in self._listeners:
            listener.start(rows)

    def advance(self, rows: int) -> None:
        """Tell every listener."""
        for listener in self._listeners:
            listener.advance(rows)


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
