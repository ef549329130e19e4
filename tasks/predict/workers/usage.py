"""What the workers of a run take of their devices: memory, and how busy they are.

Of a GPU NVIDIA's driver tells, of the CPU the kernel: what a worker's process takes.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from tasks.engine.gpu.usage import GpuWatch
from tasks.errors import DeviceError

logger = logging.getLogger("wenti.usage")

LOOK_SECONDS = 1.0


class Meter(Protocol):
    """Measures one worker."""

    def look(self, process_id: int) -> None:
        """Measure now; `process_id` is that of the worker's process."""

    def figures(self) -> dict[str, Any]:
        """Give what was measured, under the names it has in metrics.json."""


class CpuMeter:
    """Measures the processes of a worker on the CPU, which may be several, one after the other."""

    def __init__(self) -> None:
        self._memory = 0.0
        self._seconds: dict[int, float] = {}

    def look(self, process_id: int) -> None:
        """See `Meter`."""
        try:
            self._memory = max(self._memory, peak_megabytes(process_id))
            self._seconds[process_id] = cpu_seconds(process_id)
        except OSError:  # it ends just now
            return

    def figures(self) -> dict[str, Any]:
        """See `Meter`."""
        seconds = round(sum(self._seconds.values()), 2)
        return {"peak_memory_mb": round(self._memory, 1), "cpu_seconds": seconds}


class GpuMeter:
    """Measures a GPU: all of it, whoever else uses it."""

    def __init__(self, watch: GpuWatch) -> None:
        self._watch = watch
        self._memory = 0
        self._busy: list[float] = []

    def look(self, process_id: int) -> None:
        """See `Meter`."""
        use = self._watch.read()
        if use is not None:
            self._memory = max(self._memory, use.memory)
            self._busy.append(use.busy)

    def figures(self) -> dict[str, Any]:
        """See `Meter`."""
        return {
            "name": self._watch.name,
            "memory_mb": round(self._watch.memory / 1e6, 1),
            "peak_memory_mb": round(self._memory / 1e6, 1),
            "utilisation_percent": round(100 * fmean(self._busy), 1) if self._busy else None,
        }


class NoMeter:
    """Stands for a GPU that the driver does not tell of."""

    def look(self, process_id: int) -> None:
        """See `Meter`."""

    def figures(self) -> dict[str, Any]:
        """See `Meter`."""
        return {}


def make_meter(device: str) -> Meter:
    """Give what measures a worker on this device."""
    if not device.startswith("gpu"):
        return CpuMeter()
    try:
        return GpuMeter(GpuWatch(device))
    except DeviceError as error:
        logger.warning("%s will not be measured: %s", device, error)
        return NoMeter()


class Usage:
    """Looks at several workers now and then, in a thread of its own, until it is stopped.

    Args:
        workers: for each, its name and what gives the id of its process, None while it has none.
        meters: for each of them, what measures it.
    """

    def __init__(
        self, workers: Mapping[str, Callable[[], int | None]], meters: Sequence[Meter]
    ) -> None:
        self._workers = dict(workers)
        self._meters = dict(zip(workers, meters, strict=True))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="usage", daemon=True)
        self._thread.start()

    def look(self, name: str) -> None:
        """Measure one worker now."""
        process_id = self._workers[name]()
        if process_id is not None:
            self._meters[name].look(process_id)

    def figures(self) -> dict[str, dict[str, Any]]:
        """Give what was measured of each worker."""
        return {name: meter.figures() for name, meter in self._meters.items()}

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            for name in self._workers:
                self.look(name)


def peak_megabytes(process_id: int) -> float:
    """Give the most memory that a process has had, in MB of 10^6 bytes (VmHWM, man 5 proc)."""
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    found = [line.split() for line in lines if line.startswith("VmHWM:")]
    return int(found[0][1]) * 1024 / 1e6 if found else 0.0


def cpu_seconds(process_id: int) -> float:
    """Give the seconds that a process has computed, all its threads together (man 5 proc)."""
    text = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
