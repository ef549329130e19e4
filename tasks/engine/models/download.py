"""Models by name: which ones there are, and downloading one with PaddleNLP's own cache."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

from tasks.engine.models.family import ModelFamily
from tasks.engine.models.registry import FAMILIES, family_names
from tasks.errors import ModelError

NAMES = "pretrained_init_configuration"


def download_model(name: str, folder: Path, trust_checkpoint: bool = False) -> None:
    """Download the named model and tokenizer with PaddleNLP, and save both into `folder`.

    Raises:
        ModelError: PaddleNLP cannot download or load a model of this name, or it is not one of
            PaddleNLP's own (loading it could run code) and `trust_checkpoint` is false.
    """
    families = [entry.load() for entry in FAMILIES]
    known = [one for one in families if name in one.tokenizer_class.pretrained_init_configuration]
    if not known:
        _require_trust(name, trust_checkpoint)
    try:
        _save((known or families)[0], name, folder)
    except Exception as error:  # PaddleNLP's many sources can raise anything
        raise ModelError(
            f"model.model_name_or_path: PaddleNLP cannot download a {family_names()} model called "
            f"{name!r} ({type(error).__name__}: {error}); check the name and the network, "
            "or give the folder of a checkpoint"
        ) from error


def list_models() -> list[str]:
    """Return the names of the models that PaddleNLP itself can download, without importing it.

    They are the keys of `pretrained_init_configuration` in the source of the tokenizers; empty if
    PaddleNLP is not installed, or its source does not tell.
    """
    spec = find_spec("paddlenlp")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    sources = (Path(folder) / one.tokenizer_source for folder in folders for one in FAMILIES)
    return [name for source in sources for name in _read_names(source)]


def _read_names(source: Path) -> list[str]:
    try:
        nodes = list(ast.walk(ast.parse(source.read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return []
    assigned = (node for node in nodes if isinstance(node, ast.Assign))
    named = (one for one in assigned if NAMES in (getattr(to, "id", "") for to in one.targets))
    keys = (key for one in named if isinstance(one.value, ast.Dict) for key in one.value.keys)
    return [key.value for key in keys if isinstance(key, ast.Constant) and type(key.value) is str]


def _save(family: ModelFamily, name: str, folder: Path) -> None:
    for kind in (family.tokenizer_class, family.model_class):
        kind.from_pretrained(name).save_pretrained(str(folder))


def _require_trust(name: str, trust_checkpoint: bool) -> None:
    if not trust_checkpoint:
        raise ModelError(
            f"model.model_name_or_path: there is no folder {name!r}, and it is not a model of "
            "PaddleNLP's own; correct the path, or, if you trust whoever published a model of this "
            "name, set `model.trust_checkpoint: true`"
        )
