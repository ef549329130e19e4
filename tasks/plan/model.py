"""The model folder of a run: the user's own, or the store's copy of a named model."""

from __future__ import annotations

import difflib
import os
from importlib.metadata import version
from pathlib import Path

from tasks.config.paths import model_folder
from tasks.config.settings import ModelSettings, Settings
from tasks.engine.models.checkpoint import checkpoint_faults
from tasks.engine.models.config import read_config
from tasks.engine.models.download import download_model, list_models
from tasks.findings import Finding
from tasks.processes import call_in_child
from tasks.store.files import adopt_file, staging_folder, storage_of
from tasks.store.layout import Store
from tasks.store.local import file_sha256
from tasks.store.manifest import MANIFEST, Manifest, commit_manifest, find_checkpoint, fingerprint


def locate_model(settings: Settings, store: Store) -> Path:
    """Return the model folder, or where a named model will be downloaded to; reads nothing."""
    given = model_folder(settings.model)
    if given is not None:
        return given
    copy = store.model_folder(fingerprint(_decide(settings.model.model_name_or_path)))
    return storage_of(copy).fetch(copy)


def find_model(settings: Settings, store: Store) -> Path | None:
    """Return the model folder; None if it is a named model that is not downloaded yet."""
    name, folder = settings.model.model_name_or_path, locate_model(settings, store)
    if model_folder(settings.model) is not None:
        return folder
    found = find_checkpoint(folder / MANIFEST, fingerprint(_decide(name)))
    return folder if found.manifest is not None else None


def get_model(settings: Settings, store: Store) -> Path:
    """Return the model folder; download a named model unless the store has it.

    Raises:
        ModelError: PaddleNLP cannot download the model.
        StorageError: the store cannot be written.
    """
    found = find_model(settings, store)
    return found or _download(settings.model, store)


def _download(model: ModelSettings, store: Store) -> Path:
    name = model.model_name_or_path
    decided_by = _decide(name)
    digest = fingerprint(decided_by)
    folder = store.model_folder(digest)
    with staging_folder(folder) as staging:
        call_in_child(download_model, name, staging, model.trust_checkpoint)
        files = [adopt_file(path, folder / path.name) for path in sorted(staging.iterdir())]
        commit_manifest(
            folder / MANIFEST,
            Manifest(kind="model", fingerprint=digest, decided_by=decided_by, files=tuple(files)),
        )
    return storage_of(folder).fetch(folder)


def _decide(name: str) -> dict[str, str]:
    return {"stage": "model", "name": name, "paddlenlp": version("paddlenlp")}


KEY = "model.model_name_or_path"
TOKENIZER_FILES = {
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
}
MODEL_SUFFIXES = {".pdparams", ".safetensors", ".json"}


def find_model_faults(folder: Path) -> list[Finding]:
    """Return what is wrong with a model folder, as far as this shows without loading it."""
    remedy = "give a folder that PaddleNLP's save_pretrained has written"
    where = folder.absolute()
    faults = checkpoint_faults(folder) or _entry_faults(folder)
    return [Finding(KEY, f"{where}: {fault}", remedy) for fault in faults]


def _entry_faults(folder: Path) -> list[str]:
    """Return which files of the model cannot be hashed: pipes, which wait for ever, and others."""
    faults = []
    for path in _model_files(folder):
        if not path.is_file():
            what = "a broken link" if path.is_symlink() else "not a regular file"
            faults.append(f"{path.name} is {what}")
        elif not os.access(path, os.R_OK):
            faults.append(f"{path.name} cannot be read: permission denied")
    return faults


def find_name_faults(settings: Settings, store: Store) -> list[Finding]:
    """Return what is wrong with the name of a model to download; nothing is downloaded.

    It must be one of PaddleNLP's own, unless `model.trust_checkpoint` is set or the store has it.
    """
    name, known = settings.model.model_name_or_path, list_models()
    manifest = locate_model(settings, store) / MANIFEST
    is_usable = not known or name in known or settings.model.trust_checkpoint
    if is_usable or storage_of(manifest).is_file(manifest):
        return []
    near = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"give a folder, or one of {', '.join(known)}"
    place = Path(name).absolute()
    problem = f"there is no folder {place}, and PaddleNLP has no model of the name {name}"
    trust = "`model.trust_checkpoint: true` allows others, if you trust whoever published them"
    return [Finding(KEY, problem, f"{remedy}; {trust}")]


def longest_row(folder: Path) -> int | None:
    """Return the maximum tokens of a row, start token included; None if the config lacks it.

    The positions of the target start at 0 again, so the start token takes none of the source's.
    """
    positions = read_config(folder).max_position_embeddings
    return None if positions is None else positions + 1


def hash_model(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file that decides what the model computes, by name.

    Raises:
        OSError: a file cannot be read.
    """
    return {path.name: file_sha256(path) for path in _model_files(folder)}


def _model_files(folder: Path) -> list[Path]:
    """Return the entries of a model folder that decide what the model computes, sorted."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name in TOKENIZER_FILES or path.suffix in MODEL_SUFFIXES
    ]


def hash_tokenizer(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file that decides how text becomes tokens, by name.

    Raises:
        OSError: a file cannot be read.
    """
    paths = (folder / name for name in sorted(TOKENIZER_FILES))
    return {path.name: file_sha256(path) for path in paths if path.is_file()}
