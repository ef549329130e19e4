"""The file of a saved graph's weights: one tensor after the other, in the order of their names.

The layout is that of Paddle's `SerializeToStream` (paddle/fluid/framework/lod_tensor.cc and
tensor_util.cc), version 0: for each tensor uint32 version, uint64 number of LoD levels (0), uint32
version again, int32 size of a `TensorDesc`, that protobuf, and the elements; all little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tasks.engine.paddle.generations.paddle2 import protobuf
from tasks.engine.paddle.runtime import Untyped
from tasks.errors import StoreCorruptionError

Weight = NDArray[Any]

_HEADER = struct.Struct("<IQIi")
_TYPES = {"FP16": np.float16, "FP32": np.float32}


def weight_names(program: Untyped) -> list[str]:
    """Return the names of a graph's weights in the order of their file."""
    types = protobuf().VarType
    feeds = {types.FEED_MINIBATCH, types.FETCH_LIST}
    return sorted(
        {
            one.name
            for block in program.blocks
            for one in block.vars
            if one.persistable and one.type.type not in feeds
        }
    )


def change_weights(path: Path, program: Untyped, change: Callable[[str, Weight], Weight]) -> None:
    """Replace each weight in a file by `change(name, weight)`.

    Raises:
        StoreCorruptionError: the file is not the weights of this graph.
    """
    changed = path.with_name(f"{path.name}.changed")
    with path.open("rb") as source, changed.open("wb") as target:
        for name in weight_names(program):
            _write(target, change(name, _read(source, path)))
        if source.read(1):
            raise StoreCorruptionError(f"{path} has more weights than its graph")
    changed.replace(path)


def read_weights(path: Path, program: Untyped) -> Iterator[tuple[str, Weight]]:
    """Yield each weight with its name.

    Raises:
        StoreCorruptionError: the file is not the weights of this graph.
    """
    with path.open("rb") as source:
        for name in weight_names(program):
            yield name, _read(source, path)


def _read(source: BinaryIO, path: Path) -> Weight:
    version, levels, again, size = _HEADER.unpack(_take(source, _HEADER.size, path))
    types = protobuf().VarType
    described = types.TensorDesc.FromString(_take(source, size, path))
    found = _TYPES.get(types.Type.Name(described.data_type))
    if (version, levels, again) != (0, 0, 0) or found is None:
        raise StoreCorruptionError(f"{path} is not a file of weights with a known layout")
    count = int(np.prod(described.dims, dtype=np.int64)) * np.dtype(found).itemsize
    return np.frombuffer(_take(source, count, path), found).reshape(described.dims)


def _take(source: BinaryIO, count: int, path: Path) -> bytes:
    taken = source.read(count)
    if len(taken) != count:
        raise StoreCorruptionError(f"{path} has fewer weights than its graph")
    return taken


def _write(target: BinaryIO, weight: Weight) -> None:
    types = protobuf().VarType
    name = next(name for name, found in _TYPES.items() if found == weight.dtype)
    described = types.TensorDesc(data_type=types.Type.Value(name), dims=weight.shape)
    body = described.SerializeToString(deterministic=True)
    target.write(_HEADER.pack(0, 0, 0, len(body)) + body)
    target.write(np.ascontiguousarray(weight).data)
