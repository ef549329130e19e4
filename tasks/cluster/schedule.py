"""Which place gets which job: the order, the second attempts and the outcomes. No Ray, no clock."""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass
from itertools import count

SLOW_FACTOR = 3.0
"""A job is slow if it takes this many times the median of those that are done."""

SLOW_SECONDS = 5.0
"""And at least this long: a second attempt loads a model."""


@dataclass(frozen=True)
class Attempt:
    """A place at work on a job.

    Attributes:
        attempt: counts all attempts at all jobs.
        number: of the job.
        started: the moment when it began.
        behind: for a second attempt, the seconds that the first has taken so far; else 0.
    """

    attempt: int
    number: int
    started: float
    behind: float = 0.0


class Schedule:
    """The jobs of a driver and who is at them; moments are in seconds of any one clock.

    Args:
        speculate: whether idle places try slow jobs a second time.
    """

    def __init__(self, speculate: bool) -> None:
        self._speculate = speculate
        self._queue: deque[int] = deque()
        self._open: set[int] = set()
        self._running: dict[str, Attempt] = {}
        self._seconds: list[float] = []  # in order: there are up to 244,000 of 10^9 rows
        self._numbers = count()

    @property
    def is_idle(self) -> bool:
        """Whether there is no job that has no outcome."""
        return not self._open

    def add(self, number: int) -> None:
        """Put a job at the end of the queue."""
        self._open.add(number)
        self._queue.append(number)

    def attempt_of(self, place: str) -> Attempt | None:
        """Return what a place is at work on; None if it is idle."""
        return self._running.get(place)

    def assign(self, place: str, now: float) -> Attempt | None:
        """Give an idle place the next job, or else a slow one; None if there is nothing to do."""
        if self._queue:
            attempt = Attempt(next(self._numbers), self._queue.popleft(), now)
        elif slow := self._find_slow(now):
            attempt = Attempt(next(self._numbers), slow.number, now, now - slow.started)
        else:
            return None
        self._running[place] = attempt
        return attempt

    def finish(self, place: str, now: float) -> bool:
        """Note that a place has done its job; return whether it is the first to do so."""
        attempt = self._running.pop(place)
        insort(self._seconds, now - attempt.started)
        is_first = attempt.number in self._open
        self._open.discard(attempt.number)
        return is_first

    def fail(self, place: str) -> bool:
        """Note that a place has failed; return whether its job has failed, and not only this try.

        A job that another place has done, or is at work on, has not failed.
        """
        attempt = self._running.pop(place)
        is_last = all(one.number != attempt.number for one in self._running.values())
        has_failed = is_last and attempt.number in self._open
        if has_failed:
            self._open.discard(attempt.number)
        return has_failed

    def _find_slow(self, now: float) -> Attempt | None:
        if not self._speculate or not self._seconds:
            return None
        median = self._seconds[len(self._seconds) // 2]
        limit = max(SLOW_SECONDS, SLOW_FACTOR * median)
        numbers = [one.number for one in self._running.values()]
        slow = [
            one
            for one in self._running.values()
            if one.number in self._open
            and numbers.count(one.number) == 1
            and now - one.started > limit
        ]
        return min(slow, key=lambda one: one.started, default=None)
