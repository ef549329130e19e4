"""Loading a model checkpoint from a folder, and finding out what is wrong with the folder.

PaddleNLP only makes the model of a config; the weights are read by `tasks.engine.weights`, so that
nothing in a checkpoint is executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.engine.contract import SpecialTokens
from tasks.engine.model_files import ModelFiles
from tasks.engine.models.config import CONFIG_FILES, find_config, load_config, read_config
from tasks.engine.models.family import Limits, ModelFamily
from tasks.engine.models.registry import FAMILIES, family_names, find_family
from tasks.engine.paddle.runtime import Untyped, import_paddle, quiet
from tasks.engine.weights.read import (
    INDEX,
    WEIGHT_FILES,
    as_float32,
    find_weights,
    parse_index,
    read_weights,
)
from tasks.errors import ModelError

GENERATION_FILE = "generation_config.json"


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A model checkpoint in memory.

    Attributes:
        family: the family of the model.
        model: PaddleNLP's model.
        special_tokens: the ids that the search treats specially.
        limits: the limits of the model's inputs.
    """

    family: ModelFamily
    model: Untyped
    special_tokens: SpecialTokens
    limits: Limits


def load_checkpoint(model: Path | ModelFiles) -> LoadedCheckpoint:
    """Load a model from its folder, weights in float32, on the CPU; run no code of the checkpoint.

    Raises:
        ModelError: the folder does not contain a usable checkpoint, for every reason at once; or a
            file has changed since `model` was made.
    """
    files = model if isinstance(model, ModelFiles) else ModelFiles.of_model(model)
    folder = files.folder
    entry = find_family(read_config(folder))
    faults = checkpoint_faults(folder)
    if faults or entry is None:
        raise _unusable(folder, faults)
    import_paddle().set_device("cpu")
    family = entry.load()
    with _loading(folder, "the model"):
        loaded = family.make_model(*_read_settings(files))
    faults = load_weights(family, loaded, files)
    with _loading(folder, "the tokenizer"):
        tokenizer = family.load_tokenizer(files)
    faults += family.find_faults(loaded, tokenizer)
    if faults:
        raise _unusable(folder, faults)
    loaded.eval()
    special = family.special_tokens(loaded, tokenizer)
    return LoadedCheckpoint(family, loaded, special, family.limits(loaded))


def _read_settings(files: ModelFiles) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the content of a checkpoint's config, and of its generation config if it has one."""
    name = next(name for name in CONFIG_FILES if name in files)
    config: dict[str, Any] = json.loads(files.read(name))
    generation = None
    if GENERATION_FILE in files:
        with suppress(ValueError, RecursionError):  # PaddleNLP, too, ignores a file that is no JSON
            generation = json.loads(files.read(GENERATION_FILE))
    return config, generation if isinstance(generation, dict) else None


@contextmanager
def _loading(folder: Path, part: str) -> Iterator[None]:
    """Turn anything that PaddleNLP raises while loading into a `ModelError`."""
    try:
        with quiet():
            yield
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _unusable(folder, [f"PaddleNLP cannot load {part}: {lines[-1]}"]) from error


def load_weights(family: ModelFamily, model: Untyped, files: ModelFiles) -> list[str]:
    """Set all weights of a model; return a fault for each kind of weights that could not be set.

    Raises:
        ModelError: a file of weights cannot be read, or has changed.
    """
    wanted, faults = model.state_dict(), []
    missing = dict.fromkeys(wanted)
    for name, stored in read_weights(files):
        if name not in missing:
            continue
        del missing[name]
        array = as_float32(stored)
        if array is None:
            faults.append(f"the weight {name} has the dtype {stored.dtype}, which is no float")
        elif list(array.shape) != wanted[name].shape:
            faults.append(
                f"the weight {name} has the shape {list(array.shape)}, but the config needs "
                f"{wanted[name].shape}"
            )
        else:
            wanted[name].set_value(array)
    return _missing_weights([name for name in missing if name not in family.tied_weights]) + faults


def checkpoint_faults(folder: Path) -> list[str]:
    """Return what is wrong with a checkpoint folder, as far as that shows without loading it."""
    if not folder.exists():
        return ["there is no such folder"]
    if not folder.is_dir():
        return ["it is a file, not a folder"]
    family = find_family(read_config(folder)) or FAMILIES[0]
    faults = []
    for names in (CONFIG_FILES, WEIGHT_FILES, (family.tokenizer_file,)):
        if not any((folder / name).is_file() for name in names):
            faults.append(f"{' or '.join(names)} is missing")
    return faults + _config_faults(folder) + _index_faults(folder)


def _index_faults(folder: Path) -> list[str]:
    """Return what is wrong with the index of a checkpoint whose weights are in several files."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    first = find_weights(names)
    if first is None or not first.endswith(INDEX):
        return []
    try:
        parse_index(first, (folder / first).read_bytes(), names)
    except (OSError, ValueError) as error:
        return [str(error)]
    return []


def _config_faults(folder: Path) -> list[str]:
    path = find_config(folder)
    if path is None:
        return []
    try:
        config = load_config(path)
    except (OSError, ValueError) as error:
        return [f"{path.name} cannot be read as JSON ({error})"]
    if find_family(config) is not None:
        return []
    wanted = " or ".join(one.architectures[0] for one in FAMILIES)
    return [f"{path.name} is for {config.architecture or 'an unnamed model'}, not for {wanted}"]


def _missing_weights(missing: list[str]) -> list[str]:
    if not missing:
        return []
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return [f"{len(missing)} weights are missing: {shown}"]


def _unusable(folder: Path, faults: list[str]) -> ModelError:
    head = f"{folder} is not a usable {family_names()} checkpoint:"
    lines = [head, *(f"  - {fault}" for fault in faults)]
    lines.append("set `model.model_name_or_path` to a folder written by `save_pretrained`")
    return ModelError("\n".join(lines))
