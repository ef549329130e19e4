"""The GPUs of this machine: what NVIDIA's driver reports, and whether Paddle can use them.

The driver is queried through its management library (NVML), in milliseconds; Paddle is not
imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.config.sections.prediction import ALL
from tasks.config.settings import PredictSettings
from tasks.engine.gpu.fat_binaries import Capability, Kernels, name_architecture
from tasks.errors import DeviceError
from tasks.findings import Finding

KEY = "predict.device"
OR_CPU = "or set `predict.device: cpu`"
DRIVERS = "https://www.nvidia.com/drivers"

OLDEST_DRIVERS = {11: "450.80.02", 12: "525.60.13"}
"""The oldest driver that runs programs for any CUDA of a major version (CUDA's release notes)."""


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: its number in `nvidia-smi`.
        name: such as NVIDIA A10.
        uuid: such as GPU-5a1b….
        memory: total memory in bytes.
        free: free memory in bytes.
        capability: compute capability, (8, 6) for sm_86.
    """

    index: int
    name: str
    uuid: str
    memory: int
    free: int
    capability: Capability


@dataclass(frozen=True)
class Machine:
    """A driver and its GPUs.

    Attributes:
        driver: version of the driver.
        cuda: the newest version of CUDA that the driver supports, (12, 2) for 12.2.
        gpus: all GPUs, in the order of the bus.
    """

    driver: str
    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


def probe_gpus() -> Machine:
    """Return the driver's version and the GPUs that it reports.

    Raises:
        DeviceError: there is no driver, or it does not answer.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            newest = pynvml.nvmlSystemGetCudaDriverVersion_v2()
            return Machine(
                driver=pynvml.nvmlSystemGetDriverVersion(),
                cuda=(newest // 1000, newest % 1000 // 10),
                gpus=tuple(_probe_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())),
            )
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise DeviceError(_explain(error)) from error


def _probe_gpu(index: int) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        memory=int(memory.total),
        free=int(memory.free),
        capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
    )


def _explain(error: Exception) -> str:
    import pynvml

    if isinstance(error, pynvml.NVMLError_LibraryNotFound):
        return "no NVIDIA driver is installed (libnvidia-ml.so.1 is missing)"
    if isinstance(error, pynvml.NVMLError_DriverNotLoaded):
        return "the NVIDIA driver is installed but not loaded"
    return f"the NVIDIA driver does not answer ({error})"


def visible_gpus(gpus: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """Return the GPUs that a process sees, in its order: the first is its `gpu:0`.

    Args:
        gpus: all GPUs of the machine, in the order of the bus.
        visible: the value of CUDA_VISIBLE_DEVICES: numbers, or unique prefixes of UUIDs. Entries
            after one that does not exist are ignored; with a duplicate, no GPU is visible (CUDA C++
            Programming Guide 11.8, appendix M).
    """
    if visible is None:
        return list(gpus)
    seen: list[Gpu] = []
    for name in visible.split(","):
        found = _named(gpus, name.strip())
        if found is None:
            break
        if found in seen:
            return []
        seen.append(found)
    return seen


def _named(gpus: Sequence[Gpu], name: str) -> Gpu | None:
    if name.startswith("GPU-"):
        found = [gpu for gpu in gpus if gpu.uuid.startswith(name)]
        return found[0] if len(found) == 1 else None
    return next((gpu for gpu in gpus if str(gpu.index) == name), None)


def check_driver(machine: Machine, built_for: tuple[int, int]) -> Finding:
    """Check that a driver can run programs that were built for a CUDA version.

    Any driver for the same major version can; an older one cannot compile PTX (CUDA Compatibility,
    "Minor Version Compatibility").
    """
    newest = "{}.{}".format(*machine.cuda)
    seen = f"{machine.driver}, for CUDA up to {newest}"
    ours = "{}.{}".format(*built_for)
    if machine.cuda >= built_for:
        return Finding("driver", seen, severity="ok")
    if machine.cuda[0] == built_for[0]:
        remedy = f"it should work; if not, install one for CUDA {ours} or newer ({DRIVERS})"
        return Finding("driver", f"{seen}; Paddle is built for {ours}", remedy, "warning")
    oldest = OLDEST_DRIVERS.get(built_for[0], f"one for CUDA {ours}")
    remedy = f"install {oldest} or newer ({DRIVERS}), {OR_CPU}"
    return Finding("driver", f"{seen}; Paddle is built for {ours}", remedy)


def check_gpus(
    devices: Iterable[str], gpus: Sequence[Gpu], kernels: Kernels | None
) -> list[Finding]:
    """Check for each device of a config that it exists and Paddle has kernels for it.

    Args:
        devices: such as gpu:0.
        gpus: the GPUs that this process sees, `gpu:0` first.
        kernels: the kernels of the installed Paddle; None if they are unknown.
    """
    return [_check_gpu(device, gpus, kernels) for device in devices]


def _check_gpu(device: str, gpus: Sequence[Gpu], kernels: Kernels | None) -> Finding:
    index = device_index(device)
    if index >= len(gpus):
        remedy = f"name existing GPUs in `predict.devices`, {OR_CPU}"
        return Finding(KEY, f"no {device}: {_count(len(gpus))}", remedy)
    gpu = gpus[index]
    architecture = name_architecture(gpu.capability)
    seen = f"{device}: {gpu.name}, {gigabytes(gpu.memory)}, {architecture}"
    if kernels is None:
        remedy = "if a run fails with `no kernel image is available`, the GPU is too new or too old"
        return Finding(
            KEY, f"{seen}; it is unknown if Paddle has kernels for it", remedy, "warning"
        )
    runs = kernels.find_for(gpu.capability)
    if runs is None:
        problem = f"{seen}: this Paddle build has no kernels for it (it has {kernels})"
        other = f"a Paddle for {architecture} (docs/gpu.md)"
        remedy = f"use a GPU that one of them runs on, {other}, {OR_CPU}"
        return Finding(KEY, problem, remedy)
    return Finding(KEY, f"{seen}, runs the kernels for {runs}", severity="ok")


def _count(count: int) -> str:
    if count == 0:
        return "no GPU is visible (is CUDA_VISIBLE_DEVICES empty?)"
    return f"{count} GPU{'s' if count > 1 else ''} visible, gpu:0 to gpu:{count - 1}"


def device_index(device: str) -> int:
    """Return the number in a name such as `gpu:1`; 0 if there is none."""
    return int(device.partition(":")[2] or 0)


def gigabytes(count: int) -> str:
    """Return a number of bytes in GB (10^9 bytes), such as `24.0 GB`."""
    return f"{count / 1e9:.1f} GB"


def visible_here(machine: Machine) -> list[Gpu]:
    """Return the GPUs of a machine that this process and its children see."""
    return visible_gpus(machine.gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))


def device_names(predict: PredictSettings) -> tuple[str, ...]:
    """Return the devices to start a worker on, in order; for `all`, the GPUs of `name_gpus`."""
    return name_gpus() if predict.devices == ALL else predict.devices or (predict.device,)


def name_gpus() -> tuple[str, ...]:
    """Return `gpu:0` to `gpu:N-1` for the N GPUs that this process sees.

    If it sees none, return `gpu:0`, so that the check of that device reports the cause.
    """
    try:
        count = len(visible_here(probe_gpus()))
    except DeviceError:
        count = 0
    return tuple(f"gpu:{number}" for number in range(max(1, count)))
