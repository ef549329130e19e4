"""Downloading a model by name, with PaddleNLP's own download and cache."""

from __future__ import annotations

from pathlib import Path

from tasks.engine.models.family import ModelFamily
from tasks.engine.models.registry import FAMILIES, family_names
from tasks.errors import ModelError


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
