"""Files in the safetensors format, which cannot contain code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from safetensors import SafetensorError, safe_open

from tasks.engine.weights.pickled import Array


class SafetensorsError(Exception):
    """The file is not in the format, or its weights cannot be used; says why."""


def read_safetensors(file: BinaryIO) -> Iterator[tuple[str, Array]]:
    """Yield the name and the array of each weight; only one array is in memory at a time.

    Args:
        file: an open file; it is read by its descriptor, so that it is this one and not what
            another process may have put under its name.

    Raises:
        SafetensorsError: it is no such file, or was not written by PaddleNLP.
    """
    try:
        with safe_open(f"/proc/self/fd/{file.fileno()}", framework="np") as weights:
            _check_layout(weights.metadata())
            for name in weights.keys():  # noqa: SIM118 it is not a dict
                yield name, weights.get_tensor(name)
    except (SafetensorError, TypeError) as error:  # TypeError: bfloat16, which NumPy does not have
        raise SafetensorsError(str(error)) from error


def _check_layout(metadata: dict[str, str] | None) -> None:
    """Refuse files of other frameworks: PyTorch stores the matrices of its layers transposed."""
    layout = (metadata or {}).get("format")
    if layout != "np":
        raise SafetensorsError(
            f"its metadata has `format: {layout}`, and PaddleNLP writes `format: np`; convert it "
            "with PaddleNLP's save_pretrained"
        )
