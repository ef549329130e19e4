"""Garbage: what the store holds and no run refers to; finding it and removing it.

Only what bears a name that Wenti gives is ever garbage, and nothing behind a symbolic link is.
Hold the store's exclusive lock (`tasks.store.lock`) from the search until all is removed: what a
run is making looks like what a killed one has left.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath

from tasks.errors import StoreCorruptionError
from tasks.runs.find import read_record
from tasks.runs.record import RunRecord
from tasks.runs.results import RUN_FILE
from tasks.store.files import storage_of
from tasks.store.layout import Store
from tasks.store.local import REMOVED, STAGING
from tasks.store.manifest import MANIFEST, Manifest

_CHECKPOINTS = ("exports", "datasets", "models", "predictions")
_RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_LEFTOVER = re.compile(rf"({re.escape(STAGING)}|\.latest-|{re.escape(REMOVED)}).+|\..+\.tmp")
_LEFT = "left by a process that was stopped"

_Finding = tuple[PurePath, str]  # what, and why


@dataclass(frozen=True)
class Garbage:
    """Something to remove: a folder, a file or a link; why; and its size in bytes."""

    path: PurePath
    why: str
    size: int


def find_garbage(store: Store, keep_runs: int | None = None) -> list[Garbage]:
    """List what may be removed, runs first; nothing is written.

    With `keep_runs`, all runs but that many newest ones are garbage too, and what only they refer
    to; but never a run that a link in runs/ points at, as `latest` does.

    Raises:
        StoreCorruptionError: a run.json cannot be read, so that nobody knows what its run needs.
        StorageError: a part of the store is closed to this user.
    """
    runs = store.root / "runs"
    recorded = {entry for entry in _list(runs) if _is_recorded(entry)}
    unwanted = _find_unwanted_runs(runs, recorded, keep_runs)
    needed = _find_needed(store, sorted(recorded - unwanted.keys()))
    found = chain(
        unwanted.items(),
        _find_in_runs(runs, unwanted),
        *(_find_in_checkpoints(store.root / kind, needed) for kind in _CHECKPOINTS),
        _find_free_claims(store.claims_folder),
    )
    return [Garbage(path, why, storage_of(path).size(path)) for path, why in found]


def remove(garbage: Iterable[Garbage]) -> None:
    """Remove it; what is left when this is killed or fails is garbage for the next time.

    Raises:
        StorageError: something cannot be removed: read-only, or no permission.
    """
    # Killed at any point, this must leave each thing either whole or plainly garbage:
    # - Runs go before checkpoints, so that no run is left whose checkpoints are gone.
    # - A folder stops existing in one step: a run ceases to have results and to refer to anything,
    #   and a checkpoint to be there. The next gc knows what is left by its name.
    for one in sorted(garbage, key=lambda one: one.path.parent.name != "runs"):
        storage_of(one.path).delete(one.path)


def _find_unwanted_runs(
    runs: PurePath, recorded: Set[PurePath], keep_runs: int | None
) -> dict[PurePath, str]:
    entries = _entries(runs)
    folders = {entry for entry in entries if _RUN_ID.fullmatch(entry.name) and _is_folder(entry)}
    links = [entry for entry in entries if _is_link(entry) and not _is_leftover(entry)]
    linked = {storage_of(link).resolve(link) for link in links}
    newest = set(sorted(folders & recorded, reverse=True)[:keep_runs])
    return {
        folder: f"not among the newest {keep_runs}" if folder in recorded else "has no run.json"
        for folder in sorted(folders - newest)
        if storage_of(folder).resolve(folder) not in linked
    }


def _find_needed(store: Store, runs: Iterable[PurePath]) -> set[str]:
    """Give the names of the folders that these runs refer to."""
    needed: set[str] = set()
    for run in runs:
        record = _read_record(run)
        needed.update(record.fingerprints.values())
        if record.model_folder is not None:
            # By name alone, because the store may have been moved since.
            needed.add(Path(record.model_folder).name)
        else:  # a run of an older version
            needed |= {folder.name for folder in _entries(store.root / "models")}
    return needed


def _read_record(run: PurePath) -> RunRecord:
    try:
        return read_record(run)
    except StoreCorruptionError as error:
        raise StoreCorruptionError(
            f"{run / RUN_FILE} cannot be read, so that nobody knows which checkpoints its run"
            f" needs, and nothing was removed; repair it, or delete {run}, and try again"
        ) from error


def _find_in_runs(runs: PurePath, unwanted: Collection[PurePath]) -> Iterator[_Finding]:
    for entry in _entries(runs):
        if _is_leftover(entry):
            yield entry, _LEFT
        elif _RUN_ID.fullmatch(entry.name) and entry not in unwanted:
            yield from ((path, _LEFT) for path in _entries(entry) if _is_leftover(path))


def _find_in_checkpoints(kind: PurePath, needed: Collection[str]) -> Iterator[_Finding]:
    for entry in _entries(kind):
        if _is_leftover(entry):
            yield entry, _LEFT
        elif entry.name in needed:
            yield from _find_strays(entry)
        elif _FINGERPRINT.fullmatch(entry.name):
            yield entry, "no run refers to it"


def _find_strays(folder: PurePath) -> Iterator[_Finding]:
    """Look into a checkpoint that is needed for what does not belong to it."""
    entries = _entries(folder)
    named = _find_named(entries)
    for entry in entries:
        if _is_leftover(entry):
            yield entry, _LEFT
        elif named is not None and entry.name not in named and not _is_folder(entry):
            yield entry, "no manifest names it"


def _find_named(entries: Iterable[PurePath]) -> set[str] | None:
    """Give the manifests and the files they name; None if one is damaged: it may name anything."""
    named: set[str] = set()
    for path in filter(_is_manifest, entries):
        try:
            manifest = Manifest.from_bytes(storage_of(path).read(path))
        except (OSError, ValueError):
            return None
        named |= {path.name, *(entry.name for entry in manifest.files)}
    return named


def _find_free_claims(claims: PurePath) -> Iterator[_Finding]:
    for entry in _entries(claims):
        storage = storage_of(entry)
        is_claim = storage.is_file(entry) and not _is_link(entry)
        if is_claim and not storage.locks.is_locked(entry):
            yield entry, "a claim that nobody holds"


def _is_recorded(entry: PurePath) -> bool:
    """Tell a run that has its run.json; it may be behind a link."""
    names = {path.name for path in _list(entry)}
    return RUN_FILE in names and not _is_leftover(entry)


def _is_manifest(path: PurePath) -> bool:
    """Tell a manifest by its name; beside shards, each has one and their evaluation is one."""
    is_beside_shards = path.parent.parent.name == "predictions"
    return path.name == MANIFEST or (is_beside_shards and path.suffix == ".json")


def _is_leftover(path: PurePath) -> bool:
    return _LEFTOVER.fullmatch(path.name) is not None


def _is_folder(path: PurePath) -> bool:
    return storage_of(path).is_folder(path)


def _is_link(path: PurePath) -> bool:
    return storage_of(path).is_link(path)


def _entries(folder: PurePath) -> list[PurePath]:
    """List a folder of the store; nothing if it is not there or is a link to another place."""
    return _list(folder) if _is_folder(folder) else []


def _list(folder: PurePath) -> list[PurePath]:
    """List a folder in order of names; nothing if there is none. An unreadable one is an error."""
    return storage_of(folder).list_folder(folder)
