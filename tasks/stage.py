"""What a stage reports."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.store import Found, Manifest


@dataclass(frozen=True)
class StageResult:
    """A stage's checkpoint, whether it was found or made, and how long that took in seconds."""

    stage: str
    manifest: Manifest
    found: Found
    seconds: float

    @property
    def is_reused(self) -> bool:
        """Whether the store already had it."""
        return self.found.manifest is not None

    def __str__(self) -> str:
        """Say in a few words what happened."""
        name = f"{self.stage} {self.manifest.fingerprint[:12]}"
        if self.is_reused:
            return f"{name}: reused"
        again = f" again, because {self.found.damage}" if self.found.damage else ""
        return f"{name}: made{again} in {self.seconds:.1f} s"
