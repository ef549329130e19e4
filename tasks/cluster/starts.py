"""Places that fail to start: when to ask again, and when to give up. No Ray, no clock."""

from __future__ import annotations

from tasks.errors import ClusterError

PAUSE_SECONDS = 3.0
"""After a place has failed to start, no other is asked for during this time."""

MOST_FAULTY = 5
"""If places fail to start so many times in a row, and none is up, there is no hope."""


class Starts:
    """The places of a run that have failed to start since one has started last."""

    def __init__(self) -> None:
        self._count = 0
        self._no_start_before = 0.0
        self._last_problem = ""

    def require_hope(self) -> None:
        """Raise a `ClusterError` if places have failed so often that another one would, too."""
        if self._count >= MOST_FAULTY:
            raise ClusterError(
                f"no place can be started on the Ray cluster: {self._last_problem}; every node "
                "needs the same Wenti and Paddle, and the store: `wenti doctor` compares them"
            )

    def may_ask(self, now: float) -> bool:
        """Return whether a place may be asked for."""
        return now >= self._no_start_before

    def fail(self, problem: str, now: float) -> None:
        """Note a failure. All places of a node fail together, which counts once."""
        self._last_problem = problem
        if self.may_ask(now):
            self._count += 1
            self._no_start_before = now + PAUSE_SECONDS

    def succeed(self) -> None:
        """Note that a place is up."""
        self._count = 0
