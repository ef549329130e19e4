"""The model folder of a run: the user's own, or the store's copy of a named model."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tasks.config.paths import model_folder
from tasks.config.settings import ModelSettings, Settings
from tasks.engine.contract import CONTRACT_FILE
from tasks.engine.model_files import list_model_files
from tasks.engine.models.checkpoint import checkpoint_faults
from tasks.engine.models.config import read_config
from tasks.engine.models.download import download_model
from tasks.engine.models.registry import MODEL_KEY
from tasks.engine.paddle.installation import find_version
from tasks.findings import Finding
from tasks.plan.given_export import COPY_KEY, locate_given_export, locate_tokenizer
from tasks.processes import call_in_child
from tasks.retry import DOWNLOAD_DELAYS_SECONDS, call_with_retries
from tasks.store.files import adopt_file, staging_folder, storage_of
from tasks.store.layout import Store
from tasks.store.manifest import MANIFEST, Manifest, commit_manifest, find_checkpoint, fingerprint

Download = Callable[[ModelSettings, Store], Path]


def locate_model(settings: Settings, store: Store) -> Path:
    """Return the model folder, or where a named model will be downloaded to; reads nothing.

    With a given export, it is the folder with its tokenizer.
    """
    export = locate_given_export(settings)
    if export is not None:
        return locate_tokenizer(settings, export)
    folder = model_folder(settings.model)
    if folder is not None:
        return folder
    copy = store.model_folder(fingerprint(_decide(settings.model.model_name_or_path)))
    return storage_of(copy).fetch(copy)


def find_model(settings: Settings, store: Store) -> Path | None:
    """Return the model folder; None if it is a named model that is not downloaded yet."""
    name, folder = settings.model.model_name_or_path, locate_model(settings, store)
    if model_folder(settings.model) is not None or locate_given_export(settings) is not None:
        return folder
    found = find_checkpoint(folder / MANIFEST, fingerprint(_decide(name)))
    return folder if found.manifest is not None else None


def get_model(settings: Settings, store: Store, download: Download | None = None) -> Path:
    """Return the model folder; download a named model unless the store has it.

    `download` does what `download_into` does; by default, that is called with retries.

    Raises:
        DownloadError: the network or the server failed several times.
        ModelError: PaddleNLP cannot download the model.
        StorageError: the store cannot be written.
    """
    found, model = find_model(settings, store), settings.model
    if found is not None:
        return found
    if download is not None:
        return download(model, store)
    return call_with_retries(partial(download_into, model, store), DOWNLOAD_DELAYS_SECONDS)


def download_into(model: ModelSettings, store: Store) -> Path:
    """Download a named model into a store and return its folder; raises as `get_model` does."""
    name = model.model_name_or_path
    decided_by = _decide(name)
    digest = fingerprint(decided_by)
    folder = store.model_folder(digest)
    with staging_folder(folder) as staging:
        call_in_child(download_model, name, staging)
        files = [adopt_file(path, folder / path.name) for path in sorted(staging.iterdir())]
        commit_manifest(
            folder / MANIFEST,
            Manifest(kind="model", fingerprint=digest, decided_by=decided_by, files=tuple(files)),
        )
    return storage_of(folder).fetch(folder)


def _decide(name: str) -> dict[str, str]:
    return {"stage": "model", "name": name, "paddlenlp": find_version("paddlenlp")}


def find_model_faults(folder: Path) -> list[Finding]:
    """Return what is wrong with a model folder, as far as this shows without loading it."""
    remedy = "give a folder that PaddleNLP's save_pretrained has written"
    if (folder / CONTRACT_FILE).is_file():
        remedy = f"it is an export: to predict with it, set `{COPY_KEY}` to it"
    where = folder.absolute()
    faults = checkpoint_faults(folder) or _entry_faults(folder)
    return [Finding(MODEL_KEY, f"{where}: {fault}", remedy) for fault in faults]


def _entry_faults(folder: Path) -> list[str]:
    """Return which files of the model cannot be hashed: pipes, which wait for ever, and others."""
    faults = []
    for path in list_model_files(folder):
        if not path.is_file():
            what = "a broken link" if path.is_symlink() else "not a regular file"
            faults.append(f"{path.name} is {what}")
        elif not os.access(path, os.R_OK):
            faults.append(f"{path.name} cannot be read: permission denied")
    return faults


def find_position_faults(settings: Settings, folder: Path) -> list[Finding]:
    """Return the lengths that exceed the positions of the model in a folder, by its config.

    The positions of the target start at 0 again, so the start token takes none of the source's.
    """
    positions = read_config(folder).max_position_embeddings
    if positions is None:
        return []
    lengths = {
        "dataset.max_seq_len": (settings.dataset.max_seq_len, positions + 1),
        "decode.max_dec_len": (settings.decode.max_dec_len, positions),
    }
    return [
        Finding(
            key,
            f"{wanted} exceeds the model's number of positions",
            f"allowed here: at most {most}",
        )
        for key, (wanted, most) in lengths.items()
        if wanted > most
    ]
