"""What a GPU is doing, as NVIDIA's driver reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.engine.gpu.driver import device_index, probe_gpus, visible_here
from tasks.errors import DeviceError


@dataclass(frozen=True)
class GpuUse:
    """A moment of a GPU.

    Attributes:
        memory: bytes in use, by any process.
        busy: share of the last moments in which it was computing, 0 to 1.
    """

    memory: int
    busy: float


class GpuWatch:
    """Reads the memory and the load of one GPU.

    Raises:
        DeviceError: the driver does not report it.
    """

    def __init__(self, device: str) -> None:
        import pynvml

        gpus = visible_here(probe_gpus())
        if device_index(device) >= len(gpus):
            raise DeviceError(f"the NVIDIA driver does not tell of {device}")
        gpu = gpus[device_index(device)]
        self.name, self.memory = gpu.name, gpu.memory
        try:
            pynvml.nvmlInit()  # ended with the process; NVML counts how often it is begun
            self._handle: Any = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        except pynvml.NVMLError as error:
            raise DeviceError(f"the NVIDIA driver does not tell of {device} ({error})") from error

    def read(self) -> GpuUse | None:
        """Return what it is doing now; None if the driver does not say."""
        import pynvml

        try:
            memory = pynvml.nvmlDeviceGetMemoryInfo(self._handle).used
            busy = pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu
        except pynvml.NVMLError:
            return None
        return GpuUse(int(memory), busy / 100)
