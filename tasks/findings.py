"""The result of a check: what was checked, what is wrong, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        key: what was checked: a config key, or a word such as `driver`.
        problem: what is wrong; for `ok`, what was found.
        remedy: what to do about it; empty if there is nothing to do.
        severity: a config with a `fault` cannot run; with a `warning`, it can.
    """

    key: str
    problem: str
    remedy: str = ""
    severity: Severity = "fault"

    def __str__(self) -> str:
        """Return the finding on one line."""
        return "; ".join(part for part in (f"{self.key}: {self.problem}", self.remedy) if part)

    def as_dict(self) -> dict[str, str]:
        """Return it under the keys of `wenti doctor --json`: what, state, seen and remedy."""
        return {
            "what": self.key,
            "state": self.severity,
            "seen": self.problem,
            "remedy": self.remedy,
        }
