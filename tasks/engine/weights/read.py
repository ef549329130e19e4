"""Which files of a checkpoint hold its weights, and reading them.

The files are those that PaddleNLP 2.8.1's `from_pretrained` would choose: safetensors before
`.pdparams`, and of each the index of several files before a single file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tasks.engine.model_files import ModelFiles
from tasks.engine.weights.interpreter import PickleError
from tasks.engine.weights.pickled import Array, read_pickled
from tasks.engine.weights.safe_tensors import SafetensorsError, read_safetensors
from tasks.errors import ModelError

INDEX = ".index.json"

WEIGHT_FILES = (
    f"model.safetensors{INDEX}",
    "model.safetensors",
    f"model_state.pdparams{INDEX}",
    "model_state.pdparams",
)
"""In the order of PaddleNLP 2.8.1: the first one that exists is used."""

READERS: dict[str, Callable[[BinaryIO], Iterator[tuple[str, Array]]]] = {
    ".safetensors": read_safetensors,
    ".pdparams": read_pickled,
}


def find_weights(names: Iterable[str]) -> str | None:
    """Return which of the files of a folder is read for the weights; None if there is none."""
    known = set(names)
    return next((name for name in WEIGHT_FILES if name in known), None)


def read_weights(files: ModelFiles) -> Iterator[tuple[str, Array]]:
    """Yield the name and the array of each weight; use none before the last one was read.

    Raises:
        ModelError: a file is missing, has changed, is damaged or has something else than arrays.
    """
    first = find_weights(files.sha256)
    if first is None:
        raise ModelError(f"{files.folder}: {' or '.join(WEIGHT_FILES)} is missing")
    if not first.endswith(INDEX):
        yield from _read_file(files, first)
        return
    try:
        places = parse_index(first, files.read(first), files.sha256)
    except ValueError as error:
        raise ModelError(f"{files.folder}: {error}; copy it again from its original") from error
    for file in sorted(set(places.values())):
        for name, array in _read_file(files, file):
            if places.get(name) == file:
                yield name, array


def parse_index(name: str, content: bytes, known: Collection[str]) -> dict[str, str]:
    """Return the file of each weight from an index of several files.

    Args:
        name: of the index, one of `WEIGHT_FILES`.
        content: of the index.
        known: the names of all files beside it.

    Raises:
        ValueError: it is no such index, or names a file that is not a file of weights beside it.
    """
    places = _read_map(content)
    if places is None:
        raise ValueError(f"{name} is no JSON object with a `weight_map` of files")
    suffix = Path(name.removesuffix(INDEX)).suffix
    for file in sorted(set(places.values())):
        if Path(file).name != file or Path(file).suffix != suffix:
            raise ValueError(f"{name} names {file!r}, which is no {suffix} file in this folder")
        if file not in known:
            raise ValueError(f"{file}, which {name} names, is missing")
    return places


def _read_map(content: bytes) -> dict[str, str] | None:
    try:
        index = json.loads(content)
    except (ValueError, RecursionError):
        return None
    places = index.get("weight_map") if isinstance(index, dict) else None
    are_texts = isinstance(places, dict) and all(isinstance(one, str) for one in places.values())
    return places if are_texts else None


def _read_file(files: ModelFiles, name: str) -> Iterator[tuple[str, Array]]:
    read = READERS[Path(name).suffix]
    try:
        with files.open(name) as file:
            yield from read(file)
    except PickleError as error:
        raise ModelError(
            f"{files.folder / name} cannot be read: it has {error}. Only arrays are read from it, "
            "and nothing in it is executed; save the model again with PaddleNLP's save_pretrained"
        ) from error
    except SafetensorsError as error:
        raise ModelError(f"{files.folder / name} cannot be read: {error}") from error


def as_float32(array: Array) -> Array | None:
    """Return an array in float32; None if it has no floating-point numbers.

    NumPy has no bfloat16, so Paddle saves the bits of such a weight as uint16.
    """
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else None
