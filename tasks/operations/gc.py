"""Finding and removing garbage: what is in the store, but no run refers to.

Only files and folders with names that Wenti gives can be garbage; nothing behind a symbolic link
is. Hold the store's exclusive lock (`tasks.store.lock`) from the search to the end of the removal:
the files of an active run look like those that a killed run has left behind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath

from tasks.errors import StoreCorruptionError
from tasks.predict.shards import shard_of_piece
from tasks.runs.find import find_first_try, is_complete, read_record, store_of
from tasks.runs.record import RunRecord
from tasks.runs.results import PARTS_FOLDER, RUN_FILE
from tasks.store.files import storage_of
from tasks.store.layout import Store
from tasks.store.local import REMOVED, STAGING
from tasks.store.manifest import MANIFEST, Manifest

_CHECKPOINTS = ("exports", "datasets", "columns", "models", "predictions")
_RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_LEFTOVER = re.compile(rf"({re.escape(STAGING)}|\.latest-|{re.escape(REMOVED)}).+|\..+\.tmp")
_LEFT = "left by a process that was stopped"

_Finding = tuple[PurePath, str]  # what, and why


@dataclass(frozen=True)
class Garbage:
    """A folder, a file or a link to remove, the reason, and its size in bytes."""

    path: PurePath
    why: str
    size: int


def find_garbage(store: Store, keep_runs: int | None = None) -> list[Garbage]:
    """Return what may be removed, runs first; nothing is written.

    With `keep_runs`, runs that are older than that many newest complete ones are garbage too, and
    so is what only they refer to; but never the newest complete run of a config and a kind, nor its
    newest good one, nor a run that a link in runs/ points at, such as `latest`. Runs without
    results do not count: many bad nights must not cost the last good results.

    Raises:
        StoreCorruptionError: a run.json cannot be read, so it is unknown what its run needs.
        StorageError: this user cannot read a part of the store.
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
    return [
        Garbage(path, why, storage_of(path).size(path))
        for path, why in found
        if not storage_of(path).is_recent(path)
    ]


def remove(garbage: Iterable[Garbage]) -> None:
    """Remove garbage; if this fails or is killed, the next gc finds what is left.

    Raises:
        StorageError: something cannot be removed: read-only, or no permission.
    """
    # Killed at any point, this must leave each item either whole or recognizable as garbage:
    # - Runs are removed before checkpoints, so that no run refers to removed checkpoints.
    # - A folder disappears in one step: a run with its results and references, or a checkpoint.
    #   The next gc recognizes what is left by its name.
    for one in sorted(garbage, key=lambda one: one.path.parent.name != "runs"):
        storage_of(one.path).delete(one.path)


def _find_unwanted_runs(
    runs: PurePath, recorded: Set[PurePath], keep_runs: int | None
) -> dict[PurePath, str]:
    entries = _entries(runs)
    folders = {entry for entry in entries if _RUN_ID.fullmatch(entry.name) and _is_folder(entry)}
    links = [entry for entry in entries if _is_link(entry) and not _is_leftover(entry)]
    linked = {storage_of(link).resolve(link) for link in links}
    kept = _find_kept_runs(folders & recorded, keep_runs)
    older = "older than the newest " + (
        "complete run" if keep_runs == 1 else f"{keep_runs} complete runs"
    )
    return {
        folder: older if folder in recorded else "has no run.json"
        for folder in sorted(folders - kept)
        if storage_of(folder).resolve(folder) not in linked
    }


def _find_kept_runs(folders: Set[PurePath], keep_runs: int | None) -> set[PurePath]:
    """Return the newest complete runs, what is newer, and the newest ones of each config.

    These are, of each kind, its newest complete run, which `aggregate.only_new` looks for, and the
    newest good one, with which `quality.max_drift` compares.

    All runs are kept if there are fewer complete ones than `keep_runs`, or that is None.
    """
    complete = [folder for folder in sorted(folders, reverse=True) if is_complete(folder)]
    if keep_runs is None or len(complete) < keep_runs:
        return set(folders)
    records = {folder: _read_record(folder) for folder in complete}
    # A rerun is as old as the run that it repeats; see `find_previous`.
    ages = {folder: find_first_try(store_of(folder), record) for folder, record in records.items()}
    oldest_first = sorted(complete, key=lambda folder: (ages[folder], folder))
    good = [folder for folder in oldest_first if records[folder].is_good]
    newest_of_configs = {
        folder
        for runs in (oldest_first, good)
        for folder in {_job_of(records[folder]): folder for folder in runs}.values()
    }
    newest = complete[:keep_runs]
    recent = {folder for folder in folders if newest and folder >= newest[-1]}
    return recent | newest_of_configs


def _job_of(record: RunRecord) -> tuple[object, ...]:
    """Return the config of a run, and its kind; an unknown config counts as one config."""
    config = record.config_file
    return None if config is None else os.path.realpath(config), *record.kind


def _find_needed(store: Store, runs: Iterable[PurePath]) -> set[str]:
    """Return the names of the folders that these runs refer to."""
    needed: set[str] = set()
    for run in runs:
        record = _read_record(run)
        needed.update(record.fingerprints.values())
        needed.update([record.columns] if record.columns else [])
        if record.model_folder is not None:
            # Only the name, because the store may have been moved since.
            needed.add(Path(record.model_folder).name)
        else:  # made by an older version
            needed |= {folder.name for folder in _entries(store.root / "models")}
    return needed


def _read_record(run: PurePath) -> RunRecord:
    try:
        return read_record(run)
    except StoreCorruptionError as error:
        raise StoreCorruptionError(
            f"{run / RUN_FILE} cannot be read, so it is unknown which checkpoints its run needs;"
            f" nothing was removed; repair it, or delete {run}, and try again"
        ) from error


def _find_in_runs(runs: PurePath, unwanted: Collection[PurePath]) -> Iterator[_Finding]:
    for entry in _entries(runs):
        if _is_leftover(entry):
            yield entry, _LEFT
        elif _RUN_ID.fullmatch(entry.name) and entry not in unwanted:
            inside = [*_entries(entry), *_entries(entry / PARTS_FOLDER)]
            yield from ((path, _LEFT) for path in inside if _is_leftover(path))


def _find_in_checkpoints(kind: PurePath, needed: Collection[str]) -> Iterator[_Finding]:
    for entry in _entries(kind):
        if _is_leftover(entry):
            yield entry, _LEFT
        elif entry.name in needed:
            yield from _find_strays(entry)
        elif _FINGERPRINT.fullmatch(entry.name):
            yield entry, "no run refers to it"


def _find_strays(folder: PurePath) -> Iterator[_Finding]:
    """Find files that do not belong to a checkpoint that is needed."""
    entries = _entries(folder)
    named = _find_named(entries)
    for entry in entries:
        shard = shard_of_piece(entry)
        if _is_leftover(entry):
            yield entry, _LEFT
        elif shard in entries:
            yield entry, "a piece of a shard that is there"
        elif named is not None and entry.name not in named and not _is_folder(entry):
            yield entry, "no manifest names it"


def _find_named(entries: Iterable[PurePath]) -> set[str] | None:
    """Return the names of the manifests and of their files; None if a manifest is damaged."""
    named: set[str] = set()
    for path in filter(_is_manifest, entries):
        try:
            manifest = Manifest.from_bytes(storage_of(path).read(path))
        except (OSError, ValueError, RecursionError):
            return None  # its files are unknown
        named |= {path.name, *(entry.name for entry in manifest.files)}
    return named


def _find_free_claims(claims: PurePath) -> Iterator[_Finding]:
    for entry in _entries(claims):
        storage = storage_of(entry)
        is_claim = storage.is_file(entry) and not _is_link(entry)
        if is_claim and not storage.locks.is_claimed(entry):
            yield entry, "a claim that nobody holds"


def _is_recorded(entry: PurePath) -> bool:
    """Return whether this is a run with a run.json, perhaps behind a link."""
    names = {path.name for path in _list(entry)}
    return RUN_FILE in names and not _is_leftover(entry)


def _is_manifest(path: PurePath) -> bool:
    """Return whether this is a manifest, by its name; exports and models have other JSON files."""
    has_several = path.parent.parent.name in {"datasets", "predictions"}
    return path.name == MANIFEST or (has_several and path.suffix == ".json")


def _is_leftover(path: PurePath) -> bool:
    return _LEFTOVER.fullmatch(path.name) is not None


def _is_folder(path: PurePath) -> bool:
    return storage_of(path).is_folder(path)


def _is_link(path: PurePath) -> bool:
    return storage_of(path).is_link(path)


def _entries(folder: PurePath) -> list[PurePath]:
    """List a folder of the store; return nothing if it does not exist or is a link."""
    return _list(folder) if _is_folder(folder) else []


def _list(folder: PurePath) -> list[PurePath]:
    """List a folder by name; return nothing if it does not exist.

    Raises:
        StorageError: it cannot be read.
    """
    return storage_of(folder).list_folder(folder)
