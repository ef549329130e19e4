"""The result of a stage: its checkpoint, and when it ran."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tasks.store.claims import Made
from tasks.store.manifest import Manifest

CACHED = "Cached"
"""The name of the state of a task run of Prefect whose result was there before."""


@dataclass(frozen=True)
class TimeSpan:
    """When something started and ended, in seconds of `time.monotonic`."""

    started: float
    ended: float

    @classmethod
    def since(cls, started: float) -> TimeSpan:
        """Return the span from `started` until now."""
        return cls(started, time.monotonic())

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return self.ended - self.started


@dataclass(frozen=True)
class StageResult:
    """A stage's checkpoint, whether it was reused or made, and when the stage ran."""

    stage: str
    made: Made
    span: TimeSpan

    @property
    def manifest(self) -> Manifest:
        """The checkpoint's manifest."""
        return self.made.manifest

    @property
    def state_name(self) -> str | None:
        """The name of the state of the stage's task run; None for Prefect's own."""
        return CACHED if self.made.is_reused else None

    def __str__(self) -> str:
        """Return what happened, on one line."""
        name = f"{self.stage} {self.manifest.fingerprint[:12]}"
        if self.made.is_reused:
            return f"{name}: reused"
        damage = self.made.found.damage
        again = f" again, because {damage}" if damage else ""
        return f"{name}: made{again} in {self.span.seconds:.1f} s"
