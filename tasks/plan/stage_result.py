"""What a stage reports."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tasks.store.claims import Made
from tasks.store.manifest import Manifest


@dataclass(frozen=True)
class StageResult:
    """A stage's checkpoint, whether it was found or made, and how long that took in seconds.

    `ended` is when, by the clock of `time.monotonic`: as a rule, when this was written down.
    """

    stage: str
    made: Made
    seconds: float
    ended: float = field(default_factory=time.monotonic)

    @property
    def manifest(self) -> Manifest:
        """The checkpoint's manifest."""
        return self.made.manifest

    def __str__(self) -> str:
        """Say in a few words what happened."""
        name = f"{self.stage} {self.manifest.fingerprint[:12]}"
        if self.made.is_reused:
            return f"{name}: reused"
        damage = self.made.found.damage
        again = f" again, because {damage}" if damage else ""
        return f"{name}: made{again} in {self.seconds:.1f} s"
