"""The model folder of a run: one that the user has, or a copy in the store of a named model."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from tasks.child import call_in_child
from tasks.engine.download import download_model
from tasks.model_files import is_folder_path
from tasks.settings import ModelSettings, Settings
from tasks.store import (
    MANIFEST,
    Manifest,
    Store,
    adopt_file,
    commit_manifest,
    find_checkpoint,
    fingerprint,
    staging_folder,
)


def locate_model(settings: Settings, store: Store) -> Path:
    """Give the model folder, or where it will be once a named model is there; reads nothing."""
    name = settings.model.model_name_or_path
    if is_folder_path(name):
        return Path(name).expanduser()
    return store.model_folder(fingerprint(_decide(name)))


def find_model(settings: Settings, store: Store) -> Path | None:
    """Give the model folder; None when it is a named model that was not downloaded yet."""
    name, folder = settings.model.model_name_or_path, locate_model(settings, store)
    if is_folder_path(name):
        return folder
    found = find_checkpoint(folder / MANIFEST, fingerprint(_decide(name)))
    return folder if found.manifest is not None else None


def get_model(settings: Settings, store: Store) -> Path:
    """Give the model folder, downloading a named model once; later runs need no network.

    Raises:
        ModelError: PaddleNLP cannot get it.
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
    return folder


def _decide(name: str) -> dict[str, str]:
    return {"stage": "model", "name": name, "paddlenlp": version("paddlenlp")}
