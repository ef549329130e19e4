"""The progress of the predict stage: a count of finished rows, and its displays."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

logger = logging.getLogger("wenti.progress")


@dataclass(frozen=True)
class Pace:
    """The progress at one moment: rows done, speed, and time left.

    Attributes:
        rows: the number of rows to generate.
        done: the number of finished rows.
        batches: the number of batches that have ended, successfully or not.
        seconds: since the first batch could start.
    """

    rows: int = 0
    done: int = 0
    batches: int = 0
    seconds: float = 0.0

    @property
    def percent(self) -> float:
        """The share of finished rows, 0 to 100."""
        return 100 * self.done / self.rows if self.rows else 0.0

    def __str__(self) -> str:
        """Return the rows, before the end the estimated seconds left, and the rows per second."""
        speed = self.done / self.seconds if self.seconds else 0.0
        is_under_way = 0 < self.done < self.rows and speed
        left = f", about {(self.rows - self.done) / speed:,.0f} s left" if is_under_way else ""
        return f"{self.done:,} of {self.rows:,} rows{left}, {speed:,.1f} rows per second"


Display = Callable[[Pace], None]
"""Shows a pace. Called before the first batch and after each one, by one thread at a time."""


class Progress:
    """Counts finished rows for any number of displays. Thread-safe."""

    def __init__(self, *displays: Display) -> None:
        self._displays = displays
        self._lock = threading.Lock()
        self._pace = Pace()
        self._started = time.monotonic()

    def start(self, rows: int) -> None:
        """Start counting; `rows` is the number of rows to generate."""
        with self._lock:
            self._started = time.monotonic()
            self._show(Pace(rows))

    def advance(self, rows: int) -> None:
        """Add the rows of a batch that has ended.

        A negative number takes back the rows of a shard that is retried.
        """
        with self._lock:
            done, batches = self._pace.done + rows, self._pace.batches + 1
            seconds = time.monotonic() - self._started
            self._show(replace(self._pace, done=done, batches=batches, seconds=seconds))

    def _show(self, pace: Pace) -> None:
        self._pace = pace
        for display in self._displays:
            display(pace)


def log_every(batches: int) -> Display:
    """Return a display that logs a line after every `batches` batches (`predict.logging_steps`)."""

    def log(pace: Pace) -> None:
        if pace.batches and pace.batches % batches == 0:
            logger.info("predict: %s; %d batches", pace, pace.batches)

    return log


# A flow's parameters must be plain values, so the display is passed through a context variable.
_display: ContextVar[Display | None] = ContextVar("display", default=None)


@contextmanager
def shown_on(display: Display) -> Iterator[None]:
    """Show the progress of runs that are started in this block on `display`."""
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)


def current_display(batches_between: int) -> Display:
    """Return the display set by `shown_on`, by default one that logs lines."""
    return _display.get() or log_every(batches_between)
