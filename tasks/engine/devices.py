"""Which devices are there: asked before a run starts and again by each worker."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.engine.runtime import import_paddle
from tasks.errors import DeviceError, Fault

KEY = "predict.device"
_OR_CPU = "or set `predict.device: cpu`"


def device_index(device: str) -> int:
    """Give the number in a name such as `gpu:1`; 0 without one."""
    return int(device.partition(":")[2] or 0)


def find_device_faults(devices: Iterable[str]) -> list[Fault]:
    """Say of each of these devices that cannot be used why, and what to do."""
    gpus = [device for device in devices if device.startswith("gpu")]
    if not gpus:
        return []
    paddle = import_paddle()
    if not paddle.is_compiled_with_cuda():
        problem = "this Paddle is built for the CPU only"
        remedy = f"install paddlepaddle-gpu in place of paddlepaddle, {_OR_CPU}"
        return [Fault(KEY, f"no {device}: {problem}", remedy) for device in gpus]
    count = paddle.device.cuda.device_count()
    remedy = f"name GPUs that are there in `predict.devices`, {_OR_CPU}"
    return [
        Fault(KEY, f"no {device}: {_visible(count)}", remedy)
        for device in gpus
        if device_index(device) >= count
    ]


def require_devices(devices: Iterable[str]) -> None:
    """Raise a `DeviceError` with every reason if any of these devices cannot be used."""
    faults = find_device_faults(devices)
    if faults:
        lines = ["a device cannot be used:", *(f"  - {fault}" for fault in faults)]
        raise DeviceError("\n".join(lines))


def _visible(count: int) -> str:
    if count == 0:
        return "Paddle sees no GPU (is the driver loaded, is CUDA_VISIBLE_DEVICES empty?)"
    return f"Paddle sees {count} GPU{'s' if count > 1 else ''}, gpu:0 to gpu:{count - 1}"
