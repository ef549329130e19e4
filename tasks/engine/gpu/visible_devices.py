"""Restricting a process to one GPU: a worker sees only its own.

CUDA reads CUDA_VISIBLE_DEVICES when it starts, which is later, when Paddle is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tasks.engine.gpu.driver import Gpu, device_index, probe_gpus, visible_gpus
from tasks.errors import DeviceError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def restrict_to_device(device: str) -> str:
    """Make only one GPU visible to this process; for a worker on the CPU, none.

    Returns:
        The name of the device in this process from now on.

    Raises:
        DeviceError: CUDA_VISIBLE_DEVICES does not name that many GPUs.
    """
    if not device.startswith("gpu"):
        os.environ[VISIBLE] = ""
        return device
    try:
        gpus = probe_gpus().gpus
    except DeviceError:  # CUDA may work where its management library does not
        gpus = ()
    os.environ[VISIBLE] = identify(device, gpus, os.environ.get(VISIBLE))
    return "gpu:0"


def identify(device: str, gpus: Sequence[Gpu], visible: str | None) -> str:
    """Return CUDA's name of a GPU: its UUID or, if that is unknown, its entry in `visible`.

    Args:
        device: such as gpu:1, the second visible GPU.
        gpus: all GPUs of the machine in the order of the bus, as far as they are known.
        visible: the value of CUDA_VISIBLE_DEVICES; may name parts of a GPU (MIG), which are not in
            `gpus`.

    Raises:
        DeviceError: `visible` does not name that many GPUs.
    """
    index = device_index(device)
    seen = visible_gpus(gpus, visible)
    if index < len(seen):
        return seen[index].uuid
    if visible is None:
        return str(index)
    names = [name.strip() for name in visible.split(",")]
    if index >= len(names) or not names[index]:
        raise DeviceError(f"no {device}: {VISIBLE} is {visible!r}")
    return names[index]
