"""What the workers of a run use of their devices: memory, and how busy they are.

NVIDIA's driver measures a GPU, whoever uses it; the kernel measures a worker's process on the CPU.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from tasks.engine.gpu.usage import GpuWatch
from tasks.errors import DeviceError

logger = logging.getLogger("wenti.usage")

SAMPLE_SECONDS = 1.0


class Meter(Protocol):
    """Measures one worker."""

    def measure(self, process_id: int) -> None:
        """Measure now; `process_id` is that of the worker's process on this machine."""

    def figures(self) -> dict[str, Any]:
        """Return what was measured, under the names of metrics.json.

        Memory is in MB of 10^6 bytes, times are in seconds, utilisation in percent.
        """


class CpuMeter:
    """Measures a worker on the CPU, which may have had several processes, one after the other."""

    def __init__(self) -> None:
        self._memory = 0.0
        self._seconds: dict[int, float] = {}

    def measure(self, process_id: int) -> None:
        """Note the process's peak memory and CPU time so far; nothing if it has ended."""
        try:
            self._memory = max(self._memory, peak_megabytes(process_id))
            self._seconds[process_id] = cpu_seconds(process_id)
        except OSError:  # it has just ended
            return

    def figures(self) -> dict[str, Any]:
        """Return `peak_memory_mb` of the largest process and `cpu_seconds` of all together."""
        seconds = round(sum(self._seconds.values()), 2)
        return {"peak_memory_mb": round(self._memory, 1), "cpu_seconds": seconds}


class GpuMeter:
    """Measures a whole GPU, whoever else uses it."""

    def __init__(self, watch: GpuWatch) -> None:
        self._watch = watch
        self._memory = 0
        self._busy: list[float] = []

    def measure(self, process_id: int) -> None:
        """Note the GPU's memory in use and how busy it is; nothing if the driver does not say."""
        use = self._watch.read()
        if use is not None:
            self._memory = max(self._memory, use.memory)
            self._busy.append(use.busy)

    def figures(self) -> dict[str, Any]:
        """Return `name`, `memory_mb`, `peak_memory_mb` and the mean `utilisation_percent`."""
        return {
            "name": self._watch.name,
            "memory_mb": round(self._watch.memory / 1e6, 1),
            "peak_memory_mb": round(self._memory / 1e6, 1),
            "utilisation_percent": round(100 * fmean(self._busy), 1) if self._busy else None,
        }


class NoMeter:
    """Stands in for the meter of a GPU that the driver cannot measure."""

    def measure(self, process_id: int) -> None:
        """Do nothing."""

    def figures(self) -> dict[str, Any]:
        """Return nothing."""
        return {}


def make_meter(device: str) -> Meter:
    """Return what measures a worker on this device; logs a warning if nothing can."""
    if not device.startswith("gpu"):
        return CpuMeter()
    try:
        return GpuMeter(GpuWatch(device))
    except DeviceError as error:
        logger.warning("%s will not be measured: %s", device, error)
        return NoMeter()


class Sampler:
    """Calls each of several functions every second, in a thread of its own, until it is stopped.

    Args:
        measures: what is called, such as `BatchRunner.measure` of each worker.
    """

    def __init__(self, measures: Sequence[Callable[[], None]]) -> None:
        self._measures = tuple(measures)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="usage", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait until it has ended."""
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            for measure in self._measures:
                measure()


def peak_megabytes(process_id: int) -> float:
    """Return a process's peak memory in MB of 10^6 bytes (VmHWM, man 5 proc).

    Raises:
        OSError: the process has ended.
    """
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    found = [line.split() for line in lines if line.startswith("VmHWM:")]
    return int(found[0][1]) * 1024 / 1e6 if found else 0.0


def cpu_seconds(process_id: int) -> float:
    """Return the seconds of CPU time of a process, all its threads together (man 5 proc).

    Raises:
        OSError: the process has ended.
    """
    text = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
    fields = text.rpartition(")")[2].split()  # the name before it may contain spaces
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
