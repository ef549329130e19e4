"""The machine and the versions with which a benchmark is run."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.bench.options import available_cores
from tasks.engine.paddle.installation import describe_paddle

STEAL = 7
"""Position of stolen time after `cpu`: user, nice, system, idle, iowait, irq, softirq, steal."""

PACKAGES = ("wenti", "paddlenlp", "numpy")


def describe_machine() -> dict[str, Any]:
    """Return the processor, the cores available to this process, the memory, and versions."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": available_cores(),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "paddle": describe_paddle(),
        **{name: version(name) for name in PACKAGES},
    }


def processor_ticks() -> tuple[int, int]:
    """Return the ticks of all cores since boot, and how many of them a hypervisor stole.

    Both are 0 without `/proc/stat`. Its format is in Linux's Documentation/filesystems/proc.rst.
    """
    try:
        line = Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return 0, 0
    ticks = [int(word) for word in line.split()[1:]]
    stolen = ticks[STEAL] if len(ticks) > STEAL else 0
    return sum(ticks[: STEAL + 1]), stolen


def _first(path: str, key: str) -> str | None:
    """Return the value of the first line that starts with `key` in a file of /proc."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(found, None)
