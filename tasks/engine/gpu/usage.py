"""The current use of a GPU, as NVIDIA's driver reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.engine.gpu.driver import device_index, probe_gpus, visible_here
from tasks.errors import DeviceError


@dataclass(frozen=True)
class GpuUse:
    """The use of a GPU at one moment.

    Attributes:
        memory: bytes in use by all processes.
        busy: share of the last sample period in which it was computing, 0 to 1.
    """

    memory: int
    busy: float


class GpuWatch:
    """Reads the memory use and the load of one GPU.

    Raises:
        DeviceError: the driver does not report it.
    """

    def __init__(self, device: str) -> None:
        import pynvml

        gpus = visible_here(probe_gpus())
        if device_index(device) >= len(gpus):
            raise DeviceError(f"the NVIDIA driver does not report {device}")
        gpu = gpus[device_index(device)]
        self.name, self.memory = gpu.name, gpu.memory
        try:
            pynvml.nvmlInit()  # reference-counted by NVML; released when the process ends
            self._handle: Any = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        except pynvml.NVMLError as error:
            raise DeviceError(f"the NVIDIA driver does not report {device} ({error})") from error

    def read(self) -> GpuUse | None:
        """Return the current use; None if the driver does not report it."""
        import pynvml

        try:
            memory = pynvml.nvmlDeviceGetMemoryInfo(self._handle).used
            busy = pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu
        except pynvml.NVMLError:
            return None
        return GpuUse(int(memory), busy / 100)
