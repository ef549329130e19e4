"""The weights in files of `paddle.save`, which are pickles.

They are read by `tasks.engine.weights.interpreter`, with functions of this module in the place of
NumPy's, which only build plain arrays from their bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tasks.engine.weights.interpreter import Built, Function, PickleError, interpret, show

Array = NDArray[Any]

DTYPES = {"f2", "f4", "f8", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "b1"}
"""The dtypes that an array may have, by their names in pickles; bfloat16 is saved as `u2`."""

MOST_DIMENSIONS = 32
LARGEST_SIZE = 1 << 62
"""The limits of NumPy for a shape."""

SPLIT_KEY = "UnpackBigParamInfor@@"
"""With protocols 2 and 3, what `paddle.save` has divided because it is larger than 1 GiB."""

NAMES_KEY = "StructuredToParameterName@@"
"""Paddle's internal names of the weights; `paddle.load` drops them too."""


def read_pickled(file: BinaryIO) -> Iterator[tuple[str, Array]]:
    """Yield the name and the array of each weight, in the order of the file.

    Args:
        file: a file of `paddle.save` with a dict of tensors or arrays.

    Raises:
        PickleError: the file is no such pickle; nothing of it was executed.
    """
    content = interpret(file, _GLOBALS)
    if not isinstance(content, dict):
        raise PickleError(f"a {type(content).__name__} instead of a dict of weights")
    content.pop(NAMES_KEY, None)
    weights = {
        name: array for name, one in content.items() if (array := _array_in(one)) is not None
    }
    parts = content.pop(SPLIT_KEY, {})
    content.clear()
    _join(weights, parts)
    for name in list(weights):
        yield name, weights.pop(name)  # the caller holds the only reference


def _array_in(value: object) -> Array | None:
    """Return the array of a value: an array, or a tuple of Paddle's internal name and an array."""
    match value:
        case (str(), _Array(array=array)) | _Array(array=array):
            if array is None:
                raise PickleError("an array without content")
            return array
        case _:
            return None


def _join(weights: dict[str, Array], parts: object) -> None:
    """Replace the parts of divided weights by the whole, as `paddle.load` does."""
    for name, part in parts.items() if isinstance(parts, dict) else ():
        match part:
            case {"OriginShape": tuple() as shape, "slices": list() as names}:
                found = [weights.pop(str(one), None) for one in names]
                weights[name] = _concatenate(name, found, shape)
            case _:
                raise PickleError(f"parts of {name} in another form than that of paddle.save")


def _concatenate(name: str, parts: list[Array | None], shape: tuple[Any, ...]) -> Array:
    _check_shape(shape)
    known = [part.ravel() for part in parts if part is not None]
    are_all = known and len(known) == len(parts)
    if not are_all or sum(part.size for part in known) != math.prod(shape):
        raise PickleError(f"parts of {name} that do not fit together")
    whole: Array = np.concatenate(known).reshape(shape)
    return whole


@dataclass
class _Dtype(Built):
    """A dtype that is being built: `dtype(name, False, True)`, then its byte order as state."""

    name: str
    order: str | None = None

    def set_state(self, state: object) -> None:
        match state:
            case (int(), ("<" | "|" | "=" | ">") as order, None, None, None, -1, -1, 0):
                self.order = order
            case _:
                raise PickleError(f"a dtype with the state {show(state)}")

    def resolve(self) -> np.dtype[Any]:
        order = ">" if self.order == ">" else "<"
        return np.dtype(f"{order}{self.name}")


@dataclass
class _Array(Built):
    """An array that is being built: `_reconstruct(ndarray, (0,), b"b")`, then its content."""

    array: Array | None = None

    def set_state(self, state: object) -> None:
        match state:
            case (int(), tuple() as shape, _Dtype() as dtype, bool() as is_fortran, bytes() as raw):
                self.array = _view(raw, dtype.resolve(), shape, is_fortran)
            case _:
                raise PickleError("an array with a state other than shape, dtype and bytes")


def _view(raw: bytes, dtype: np.dtype[Any], shape: tuple[Any, ...], is_fortran: bool) -> Array:
    """Return the array with this content, without copying it."""
    _check_shape(shape)
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise PickleError(f"an array of the shape {show(shape)} with {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if is_fortran else "C")


def _check_shape(shape: tuple[Any, ...]) -> None:
    are_sizes = all(type(size) is int and 0 <= size < LARGEST_SIZE for size in shape)
    if not are_sizes or len(shape) > MOST_DIMENSIONS:
        raise PickleError(f"an array of the shape {show(shape)}")


def _make_dtype(args: tuple[Any, ...]) -> _Dtype:
    match args:
        case (str() as name, *_) if name in DTYPES:
            return _Dtype(name)
        case _:
            raise PickleError(f"a dtype {show(args[:1])}")


def _make_array(args: tuple[Any, ...]) -> _Array:
    if not args or args[0] is not _GLOBALS["numpy", "ndarray"]:
        raise PickleError("an array of another class than numpy.ndarray")
    return _Array()


def _make_bytes(args: tuple[Any, ...]) -> bytes:
    match args:
        case (str(text), "latin1" | "latin-1"):
            return text.encode("latin-1")
        case _:
            raise PickleError("bytes in another encoding than latin-1")


def _make_tuple(args: tuple[Any, ...]) -> tuple[Any, ...]:
    match args:
        case (tuple() as items,):
            return items
        case _:
            raise PickleError("a tuple of something else than a tuple")


def _make_dict(args: tuple[Any, ...]) -> dict[Any, Any]:
    if args:
        raise PickleError("an OrderedDict with arguments")
    return {}


def _refuse_call(_args: tuple[Any, ...]) -> object:
    raise PickleError("a call of a class that is only an argument in files of paddle.save")


_GLOBALS = {
    ("_codecs", "encode"): Function(_make_bytes),
    ("builtins", "tuple"): Function(_make_tuple),
    ("__builtin__", "tuple"): Function(_make_tuple),
    ("collections", "OrderedDict"): Function(_make_dict),
    ("numpy", "dtype"): Function(_make_dtype),
    ("numpy", "ndarray"): Function(_refuse_call),
    ("numpy.core.multiarray", "_reconstruct"): Function(_make_array),
    ("numpy._core.multiarray", "_reconstruct"): Function(_make_array),
}
"""Every name in a file of weights of `paddle.save`, with protocols 2 to 4 and any NumPy."""
