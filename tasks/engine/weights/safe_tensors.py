"""Files in the safetensors format, which cannot contain code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open

from tasks.engine.weights.pickled import Array

BFLOAT16 = "BF16"
OF_NUMPY = re.compile(r"F(16|32|64)|[IU](8|16|32|64)|BOOL")
LENGTH_SIZE = 8  # bytes of the header's length, with which a file begins


class SafetensorsError(Exception):
    """The file is not in the format, or its weights cannot be used; says why."""


def read_safetensors(file: BinaryIO) -> Iterator[tuple[str, Array]]:
    """Yield the name and the array of each weight; only one array is in memory at a time.

    A bfloat16 is yielded as its bits, in uint16, as Paddle saves it.

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
                dtype = weights.get_slice(name).get_dtype()
                if dtype == BFLOAT16:
                    yield name, _read_bits(file, name)
                elif OF_NUMPY.fullmatch(dtype):
                    yield name, weights.get_tensor(name)
                else:
                    raise SafetensorsError(
                        f"the weight {name} has the dtype {dtype}; save the model again in "
                        "float32, float16 or bfloat16"
                    )
    except SafetensorError as error:
        raise SafetensorsError(str(error)) from error


def _check_layout(metadata: dict[str, str] | None) -> None:
    """Refuse files of other frameworks: PyTorch stores the matrices of its layers transposed."""
    layout = (metadata or {}).get("format")
    if layout != "np":
        raise SafetensorsError(
            f"its metadata has `format: {layout}`, and PaddleNLP writes `format: np`; convert it "
            "with PaddleNLP's save_pretrained"
        )


def _read_bits(file: BinaryIO, name: str) -> Array:
    """Return a weight of 16 bits per number in uint16; the library has checked the header."""
    file.seek(0)
    length = int.from_bytes(file.read(LENGTH_SIZE), "little")
    weight = json.loads(file.read(length))[name]
    first, end = weight["data_offsets"]
    file.seek(LENGTH_SIZE + length + first)
    bits: Array = np.frombuffer(file.read(end - first), "<u2").reshape(weight["shape"])
    return bits
