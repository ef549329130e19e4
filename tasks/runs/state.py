"""How a run goes or how it ended, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tasks.runs.record import RunRecord

_WORDS = {
    "running": "is running",
    "killed": "was killed, or its machine stopped, before it ended",
    "completed": "completed",
    "unfinished": "has no _SUCCESS: it was killed at its very end, or the file was deleted",
    "suspect": "completed, but its questions are suspect",
    "partial": "completed without its failed shards",
    "failed": "failed",
    "interrupted": "was interrupted",
}


def is_suspect(metrics: Mapping[str, Any]) -> bool:
    """Return whether the questions of a run are beyond a limit of `quality`, by its metrics."""
    return bool((metrics.get("gate") or {}).get("breaches"))


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        run_id: id of the run.
        state: `running`, `killed` (its process ended without recording how), `completed`, `partial`
            (completed without failed shards), `suspect` (completed, but beyond a limit of the
            config's section `quality`), `unfinished` (completed, but not marked as such),
            `failed` or `interrupted`.
        started: in UTC, ISO 8601.
        seconds: the duration, so far if it is running; None if that is unknown.
        config_file: absolute path of the config; None if it is unknown.
        error: why it failed or was interrupted.
    """

    run_id: str
    state: str
    started: str
    seconds: float | None = None
    config_file: str | None = None
    error: str | None = None

    @classmethod
    def of(cls, record: RunRecord, is_alive: bool, is_complete: bool) -> RunState:
        """Return the state of a run.

        Args:
            record: its run.json.
            is_alive: whether its process is running.
            is_complete: whether it has `_SUCCESS`.
        """
        state = record.state
        if state == "running" and not is_alive:
            state = "killed"
        elif state == "completed" and not is_complete and not is_alive:
            state = "unfinished"
        elif state == "completed" and (record.suspect or record.partial):
            state = "suspect" if record.suspect else "partial"
        now = datetime.now(UTC).isoformat() if state == "running" else None
        seconds = _seconds_between(record.started, record.ended or now)
        error = record.error
        return cls(record.run_id, state, record.started, seconds, record.config_file, error)

    def __str__(self) -> str:
        """Return the state as a clause without a subject: `failed after 3 s: the reason`."""
        return f"{self.outcome}: {self.error}" if self.error else self.outcome

    @property
    def outcome(self) -> str:
        """The state as a clause without a subject and without the reason: `failed after 3 s`."""
        words = _WORDS.get(self.state, self.state)
        how_long = "" if self.seconds is None else f" after {self.seconds:.0f} s"
        if self.state == "running":
            how_long = how_long.replace("after", "for")
        return f"{words}{how_long}"


def _seconds_between(start: str, end: str | None) -> float | None:
    """Return the seconds between two times; None if one is unknown, or the clock was set back."""
    try:
        span = datetime.fromisoformat(end or "") - datetime.fromisoformat(start)
    except (ValueError, TypeError):
        return None
    seconds = span.total_seconds()
    return round(seconds, 1) if seconds >= 0 else None
