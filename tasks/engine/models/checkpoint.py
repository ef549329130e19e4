"""Loading a model checkpoint from a folder, and finding out what is wrong with the folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.engine.contract import SpecialTokens
from tasks.engine.models.config import CONFIG_FILES, find_config, load_config, read_config
from tasks.engine.models.family import Limits, ModelFamily
from tasks.engine.models.registry import FAMILIES, family_names, find_family
from tasks.engine.models.safe_pickle import check_weights
from tasks.engine.paddle.runtime import Untyped, import_paddle, quiet
from tasks.errors import ModelError

WEIGHT_FILES = (
    "model_state.pdparams",
    "model_state.pdparams.index.json",
    "model.safetensors",
    "model.safetensors.index.json",
)


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


def load_checkpoint(folder: Path, trust_checkpoint: bool = False) -> LoadedCheckpoint:
    """Load the model in `folder`, weights in float32, on the CPU.

    Weights that could run code are loaded only with `trust_checkpoint`.

    Raises:
        ModelError: the folder does not contain a usable checkpoint; lists every reason.
    """
    entry = find_family(read_config(folder))
    faults = checkpoint_faults(folder)
    if faults or entry is None:
        raise _unusable(folder, faults)
    if not trust_checkpoint:
        check_weights(folder)
    import_paddle().set_device("cpu")
    family = entry.load()
    with _loading(folder, "the model"):
        model = family.load_model(folder)
        stored = _stored_names(folder)
    with _loading(
        folder, f"the tokenizer ({entry.tokenizer_file}: a token, a tab and its id per line)"
    ):
        tokenizer = family.load_tokenizer(folder)
    faults = _missing_weights(family, model, stored) + family.find_faults(model, tokenizer)
    if faults:
        raise _unusable(folder, faults)
    model.eval()
    special = family.special_tokens(model, tokenizer)
    return LoadedCheckpoint(family, model, special, family.limits(model))


@contextmanager
def _loading(folder: Path, part: str) -> Iterator[None]:
    """Turn anything that PaddleNLP raises while loading into a `ModelError`."""
    try:
        with quiet():
            yield
    except MemoryError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _unusable(folder, [f"PaddleNLP cannot load {part}: {lines[-1]}"]) from error


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
    return faults + _config_faults(folder)


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


def _stored_names(folder: Path) -> set[str]:
    """Return the names of the weights in the folder."""
    path = next(folder / name for name in WEIGHT_FILES if (folder / name).is_file())
    if path.name.endswith(".index.json"):
        return set(json.loads(path.read_text(encoding="utf-8"))["weight_map"])
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(str(path), framework="np") as weights:
            return set(weights.keys())
    return set(import_paddle().load(str(path), return_numpy=True))


def _missing_weights(family: ModelFamily, model: Untyped, stored: set[str]) -> list[str]:
    """Return a fault that names the weights that PaddleNLP has initialized randomly, if any."""
    prefix = f"{model.base_model_prefix}."
    missing = [
        name
        for name in model.state_dict()
        if not {name, name.removeprefix(prefix)} & stored and name not in family.tied_weights
    ]
    if not missing:
        return []
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return [f"{len(missing)} weights are missing: {shown}"]


def _unusable(folder: Path, faults: list[str]) -> ModelError:
    head = f"{folder} is not a usable {family_names()} checkpoint:"
    lines = [head, *(f"  - {fault}" for fault in faults)]
    lines.append("set `model.model_name_or_path` to a folder written by `save_pretrained`")
    return ModelError("\n".join(lines))
