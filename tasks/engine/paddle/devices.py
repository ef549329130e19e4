"""Which devices can be used: the driver is asked before a run, Paddle by each worker."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence

from tasks.engine.gpu.driver import (
    KEY,
    OR_CPU,
    check_driver,
    check_gpus,
    device_index,
    probe_gpus,
    visible_here,
)
from tasks.engine.paddle.cuda_libraries import find_missing
from tasks.engine.paddle.generations.generation import find_generation
from tasks.engine.paddle.installation import (
    find_builds,
    find_cuda,
    find_kernels,
    find_missing_packages,
)
from tasks.engine.paddle.runtime import import_paddle
from tasks.errors import DeviceError
from tasks.findings import Finding

__all__ = ["check_devices", "device_index", "find_device_faults", "require_devices"]

DRIVER_REMEDY = "install NVIDIA's driver; in a container, give it the GPUs (docker run --gpus all)"


def check_devices(devices: Sequence[str]) -> list[Finding]:
    """Check, in milliseconds and without Paddle, that everything that these GPUs need exists."""
    builds = find_builds()
    if builds and not any(build.has_cuda for build in builds):
        problem = "this Paddle is built for the CPU only"
        remedy = f"{find_generation().for_gpus}, {OR_CPU}"
        found = [Finding(KEY, f"no {one}: {problem}", remedy) for one in devices]
        return [*found, *_check_machine(devices)]
    return [_check_libraries(), *_check_machine(devices)]


def _check_machine(devices: Sequence[str]) -> list[Finding]:
    try:
        machine = probe_gpus()
    except DeviceError as error:
        return [_check_without_nvml(str(error))]
    driver, visible = check_driver(machine, find_cuda()), os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if "MIG-" in visible:
        problem = "CUDA_VISIBLE_DEVICES names parts of a GPU (MIG), which cannot be checked"
        return [
            driver,
            Finding(KEY, problem, "check with nvidia-smi -L that they exist", "warning"),
        ]
    return [driver, *check_gpus(devices, visible_here(machine), find_kernels())]


def _check_without_nvml(problem: str) -> Finding:
    """Return a fault, or a warning in containers that have the driver without NVML."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Finding("driver", problem, f"{DRIVER_REMEDY}, {OR_CPU}")
    remedy = "in a container, add `utility` to NVIDIA_DRIVER_CAPABILITIES"
    return Finding("driver", f"{problem}, so no GPU can be checked", remedy, "warning")


def _check_libraries() -> Finding:
    missing, packages = find_missing(), find_missing_packages()
    if packages:
        problem = f"packages of CUDA that Paddle needs are missing: {', '.join(packages)}"
        return Finding("CUDA libraries", problem, "install paddlepaddle-gpu again (docs/gpu.md)")
    if not missing:
        cuda = ".".join(map(str, find_cuda()))
        seen = (
            "cuDNN 8.6 and NCCL are" if find_generation().opens_cuda else "with its libraries, is"
        )
        return Finding("CUDA libraries", f"CUDA {cuda}, {seen} installed", severity="ok")
    names = ", ".join(library.name for library in missing)
    needed = " ".join(dict.fromkeys(library.package for library in missing))
    remedy = f"install wenti[gpu] with constraints-gpu.txt, or these: {needed}"
    return Finding("CUDA libraries", f"missing: {names}", remedy)


def find_device_faults(devices: Iterable[str]) -> list[Finding]:
    """Return a fault for each of these devices that Paddle cannot use; for GPUs, imports Paddle."""
    gpus = [device for device in devices if device.startswith("gpu")]
    if not gpus:
        return []
    paddle = import_paddle()
    if not paddle.is_compiled_with_cuda():
        problem = "this Paddle is built for the CPU only"
        remedy = f"{find_generation().for_gpus}, {OR_CPU}"
        return [Finding(KEY, f"no {device}: {problem}", remedy) for device in gpus]
    count = paddle.device.cuda.device_count()
    remedy = f"name existing GPUs in `predict.devices`, {OR_CPU}"
    return [
        Finding(KEY, f"no {device}: {_visible(count)}", remedy)
        for device in gpus
        if device_index(device) >= count
    ]


def require_devices(devices: Iterable[str]) -> None:
    """Check that Paddle can use all of these devices.

    Raises:
        DeviceError: it cannot; lists every reason.
    """
    faults = find_device_faults(devices)
    if faults:
        lines = ["a device cannot be used:", *(f"  - {fault}" for fault in faults)]
        raise DeviceError("\n".join(lines))


def _visible(count: int) -> str:
    if count == 0:
        return "Paddle sees no GPU (is the driver loaded, is CUDA_VISIBLE_DEVICES empty?)"
    return f"Paddle sees {count} GPU{'s' if count > 1 else ''}, gpu:0 to gpu:{count - 1}"
