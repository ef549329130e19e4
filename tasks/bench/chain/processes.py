"""CPU seconds and memory of the processes of a run, by what each is for (man 5 proc).

A process is looked at again and again, because a child that has ended cannot be asked. What is used
after the last look is missing from the parts, but not from the total.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import WorkerError

TICKS = os.sysconf("SC_CLK_TCK")
ROLES = {
    "worker on": "worker",
    "process of expo": "export",
    "prefect server": "server",
    "helper": "helpers",
}
"""What a child of the run is for, by the start of its name (`tasks.processes.show_name`)."""

LOOK_SECONDS = 0.05
STAGES = {
    "INFO run ": "predict",
    "INFO aggregate: joining": "aggregate",
    "INFO aggregate: computing": "evaluate",
    "INFO aggregate: writing": "report",
}
"""What the run's own process does from a log line on; before the first, it starts."""


@dataclass
class Usage:
    """What the processes of a run have used so far.

    Attributes:
        root: the id of the run's process.
        parts: CPU seconds by part: the root's by the stage that it was in, those of the others by
            what they are for.
        peaks: peak resident memory in MB of 10^6 bytes, of the largest process of each kind.
    """

    root: int
    parts: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    peaks: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _seconds: dict[int, float] = field(default_factory=dict)

    def look(self, stage: str) -> None:
        """Note what every process has used since the last look; `stage` is that of the root."""
        for process in _find_tree(self.root):
            folder = Path(f"/proc/{process}")
            try:
                seconds, peak = _read_seconds(folder), _read_peak(folder)
                role = "parent" if process == self.root else _find_role(folder)
            except (OSError, IndexError):  # it has just ended
                continue
            part = stage if process == self.root else role
            self.parts[part] += seconds - self._seconds.get(process, 0.0)
            self.peaks[role] = max(self.peaks[role], peak)
            self._seconds[process] = seconds


class _Stage:
    """What the run's own process does, by its log lines, of which the last are kept."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.name, self.last = "start", deque[str](maxlen=3)
        self._lines = process.stderr
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self._lines or ():
            self.last.append(line.strip())
            self.name = next((STAGES[mark] for mark in STAGES if mark in line), self.name)


def follow(process: subprocess.Popen[str], latest: Path) -> tuple[float, Usage]:
    """Wait for a run; return the CPU seconds of all its processes, and what each has used.

    Args:
        process: the run; its standard error is a pipe of text.
        latest: the link that the run points to its results when they are complete.

    Raises:
        WorkerError: the run failed.
    """
    usage, stage, before = Usage(process.pid), _Stage(process), os.path.realpath(latest)
    ended = 0
    with process:
        try:
            while not ended:
                usage.look("end" if os.path.realpath(latest) != before else stage.name)
                stage.reader.join(LOOK_SECONDS)
                ended, status, used = os.wait4(process.pid, os.WNOHANG)
        except BaseException:  # Ctrl-C; the run ends its own children
            process.terminate()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        stage.reader.join()
    if process.returncode:
        last = " / ".join(stage.last)
        raise WorkerError(f"the run ended with exit code {process.returncode}: {last}")
    return used.ru_utime + used.ru_stime, usage


def _find_tree(root: int) -> Iterator[int]:
    """Yield a process and all that descend from it."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                children[int(_read_fields(place)[1])].append(int(place.name))
            except (OSError, IndexError):
                continue
    waiting = [root]
    while waiting:
        process = waiting.pop()
        yield process
        waiting += children[process]


def _find_role(folder: Path) -> str:
    name = (folder / "comm").read_text(encoding="utf-8", errors="replace")
    return next((role for start, role in ROLES.items() if name.startswith(start)), "load")


def _read_fields(folder: Path) -> list[str]:
    """Return the fields of `stat` from the third on; the second may contain spaces."""
    return (
        (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    )


def _read_seconds(folder: Path) -> float:
    user, system = _read_fields(folder)[11:13]
    return (int(user) + int(system)) / TICKS


def _read_peak(folder: Path) -> float:
    status = (folder / "status").read_text(encoding="utf-8", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
