"""What a look at the machine and the config finds: good or bad, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tasks.errors import Fault

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what, its state, what was seen, and what to do if it is bad.

    With the state `fault`, the config cannot run here.
    """

    what: str
    state: State
    seen: str
    remedy: str = ""

    @classmethod
    def of(cls, fault: Fault) -> Finding:
        """Give a fault of the preflight as a finding."""
        return cls(fault.where, "fault", fault.problem, fault.remedy)

    @property
    def fault(self) -> Fault:
        """This finding as one of the faults of a `PreflightError`."""
        return Fault(self.what, self.seen, self.remedy)


def faults_among(findings: Iterable[Finding]) -> list[Fault]:
    """Give those findings with which the config cannot run, as faults."""
    return [finding.fault for finding in findings if finding.state == "fault"]
