"""`wenti doctor`: whether this machine has what a config needs, as a table or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Column, Table
from rich.text import Text

from flows.cli.console import output
from tasks.config.settings import Settings
from tasks.errors import ServerError
from tasks.escaping import to_json, visible
from tasks.findings import Finding

STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def examine(settings: Settings, config: Path) -> list[Finding]:
    """Check a config and this machine; return every finding, faults first, then warnings."""
    from tasks.doctor.diagnosis import diagnose

    order = list(reversed(STYLES))
    findings = [*diagnose(settings, config), check_server()]
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def check_deployments(file: Path) -> list[Finding]:
    """Check the deployments in a prefect.yaml, and return what each of them runs.

    Raises:
        ConfigError: there are faults in the file.
    """
    from flows.server.settings import read_settings

    read_settings()
    from flows.deployments.file import read_deployments
    from flows.deployments.places import find_place_warnings

    entries = read_deployments(file)
    findings = [Finding(entry.name, entry.describe(), severity="ok") for entry in entries]
    return [*find_place_warnings(entries), *findings, check_server()]


def check_server() -> Finding:
    """Check that a run can use Prefect's server, without starting one."""
    from flows.server.connection import find_server
    from flows.server.diagnosis import without_password

    try:
        found = find_server()
    except ServerError as error:
        return Finding("Prefect", error.problem, error.remedy)
    where = "each run starts a temporary server" if found is None else without_password(found.url)
    return Finding("Prefect", where, severity="ok")


def can_run(findings: Sequence[Finding]) -> bool:
    """Return whether the config can run: no finding is a fault."""
    return all(finding.severity != "fault" for finding in findings)


def findings_as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as JSON."""
    return to_json({"can_run": can_run(findings), "findings": [one.as_dict() for one in findings]})


def print_findings(findings: Sequence[Finding], name: str, command: str) -> None:
    """Print the findings as a table, and whether the config can run, started by `command`."""
    what = Column("what", overflow="fold")
    finding = Column("finding", no_wrap=True)
    table = Table(finding, "state", what, "what to do", box=None, pad_edge=False)
    for one in findings:
        cells = [Text(visible(text)) for text in (one.key, one.severity, one.problem, one.remedy)]
        cells[1].stylize(STYLES[one.severity])
        table.add_row(*cells)
    console = output()
    console.print(table)
    console.print()
    console.print(Text(visible(_conclude(findings, name, command))), soft_wrap=True)


def _conclude(findings: Sequence[Finding], name: str, command: str) -> str:
    counts = Counter(finding.severity for finding in findings)
    faults, warnings = counts["fault"], counts["warning"]
    if faults:
        return f"{name} cannot run here: {_count(faults, 'fault')}"
    what = "no problems found"
    if warnings:
        what = f"{name} can run here, with {_count(warnings, 'warning')}"
    return f"{what}; start with: {command}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
