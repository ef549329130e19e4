"""Whether the user's home and the temporary folder can be written."""

from __future__ import annotations

from tempfile import gettempdir

from tasks.environment import HOME, TEMPORARY, find_home_fault, find_temporary_fault, has_temporary
from tasks.findings import Finding, Severity


def check_folders() -> list[Finding]:
    """Return what is wrong with the two folders; nothing if both can be written.

    PaddleNLP writes into the home, or into a folder in the temporary one if it cannot.
    """
    home, temporary = find_home_fault(), find_temporary_fault()
    severity: Severity = "warning" if has_temporary() else "fault"
    findings = []
    if home is not None:
        used = f"PaddleNLP uses {gettempdir()}" if has_temporary() else "nor can another folder"
        remedy = f"set {HOME} to a folder that can be written"
        findings.append(Finding(HOME, f"{home}; {used}", remedy, severity))
    if temporary is not None:
        remedy = f"set {TEMPORARY} to a folder that can be written"
        findings.append(Finding(TEMPORARY, temporary, remedy, severity))
    return findings
