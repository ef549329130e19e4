"""Finding runs in a store by id or folder, or the last one; and the state of a run."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from uuid import UUID

from pydantic import ValidationError

from tasks.addresses import absolute_place, place_at
from tasks.config.loading import load_settings
from tasks.config.settings import Settings
from tasks.errors import InputError, StorageError, StoreCorruptionError
from tasks.runs.record import RunRecord
from tasks.runs.results import CONFIG_FILE, RUN_FILE, SUCCESS_FILE
from tasks.runs.state import RunState
from tasks.store.claims import find_owner
from tasks.store.files import storage_of
from tasks.store.layout import LATEST, NEWEST, Store
from tasks.store.manifest import on_one_line


def find_previous(
    store: Store,
    config_file: Path,
    before: str | None = None,
    is_wanted: Callable[[RunRecord], bool] = lambda _record: True,
) -> RunRecord | None:
    """Return the record of the newest complete run of a config file; None without one.

    A rerun is as old as the run that it repeats: that an old result is repaired makes it no newer.
    A record of an older version that does not say what decided the run is skipped. With `before`,
    a run's id, only runs that started before that one count; with `is_wanted`, only those whose
    record it accepts.
    """
    found, age = None, ""
    for folder in reversed(list_runs(store)):
        if folder.name <= age:  # nor is any that is older still
            break
        is_earlier = before is None or folder.name < before
        if is_earlier and is_complete(folder) and is_run_of(folder, config_file):
            record = read_record(folder)
            if record.decided_by is not None and is_wanted(record):
                first = find_first_try(store, record)
                found, age = (record, first) if first > age else (found, age)
    return found


def is_complete(folder: PurePath) -> bool:
    """Return whether a run has results: `_SUCCESS` is written last."""
    return storage_of(folder).is_file(folder / SUCCESS_FILE)


def is_run_of(folder: PurePath, config: Path) -> bool:
    """Return whether a config file started a run; links and other spellings of paths count.

    False if the run.json cannot be read, or does not say.
    """
    recorded = None
    with suppress(StoreCorruptionError):
        recorded = read_record(folder).config_file
    return recorded is not None and os.path.realpath(recorded) == os.path.realpath(config)


def list_runs(store: Store) -> list[PurePath]:
    """Return the folders of the runs that have a run.json, oldest first.

    Runs of another user, which this one may not read, are skipped.
    """
    folders: list[PurePath] = []
    with suppress(StorageError):
        folders = storage_of(store.root).list_folder(store.root / "runs")
    return [folder for folder in folders if folder.name.startswith("2") and _is_recorded(folder)]


def _is_recorded(folder: PurePath) -> bool:
    try:
        return storage_of(folder).is_file(folder / RUN_FILE)
    except PermissionError:
        return False


def read_records(store: Store) -> Iterator[RunRecord]:
    """Yield the run.json of every run of a store, oldest first; damaged ones are skipped."""
    for folder in list_runs(store):
        with suppress(StoreCorruptionError):
            yield read_record(folder)


def read_record(folder: PurePath) -> RunRecord:
    """Return a run's run.json.

    Raises:
        StoreCorruptionError: it cannot be read, or lacks a required key.
    """
    path = folder / RUN_FILE
    try:
        return RunRecord.model_validate(json.loads(storage_of(path).read(path)))
    except (OSError, ValueError, RecursionError) as error:
        problem = on_one_line(error) if isinstance(error, ValidationError) else error
        remedy = "start a new run with `wenti run` of its config"
        raise StoreCorruptionError(f"{path} is damaged ({problem}); {remedy}") from error


def find_first_try(store: Store, record: RunRecord) -> str:
    """Return the id of the run that a rerun repeats; if that is a rerun, of the one it repeats."""
    while record.rerun_of is not None:
        try:
            record = read_record(store.run_folder(record.rerun_of))
        except StoreCorruptionError:  # it was removed
            return str(record.rerun_of)
    return record.run_id


def name_origins(store: Store, rows: Mapping[str, int], run_id: str) -> dict[str, int]:
    """Return numbers of rows by run, given them by the fingerprint of the run's predictions.

    The run is the newest other one with these predictions, and else `run_id` itself, in which an
    earlier shard has an equal row. Predictions that no run has any more keep their fingerprint.
    """
    names, own = dict[str, str](), dict[str, str]()
    for folder in reversed(list_runs(store)) if rows else ():
        if names.keys() >= rows.keys():
            break
        with suppress(StoreCorruptionError):
            record = read_record(folder)
            known = own if record.run_id == run_id else names
            known.setdefault(record.predictions, record.run_id)
    names = own | names
    return {names.get(predictions, predictions): count for predictions, count in rows.items()}


def get_state(folder: PurePath) -> RunState:
    """Return the state of a run, from its run.json and its claim on itself.

    Raises:
        StoreCorruptionError: the run.json cannot be read.
    """
    record = read_record(folder)
    is_alive = find_owner(_claim_of(folder)) is not None
    return RunState.of(record, is_alive, is_complete(folder))


def _claim_of(folder: PurePath) -> PurePath:
    return store_of(folder).claims_folder / folder.name


def store_of(folder: PurePath) -> Store:
    """Return the store that contains a run's folder."""
    return Store(folder.parent.parent)


def settings_of_run(folder: PurePath, overrides: Sequence[str] = ()) -> Settings:
    """Return the settings of a run; `store.path` is the current place of the store.

    Raises:
        ConfigError: the run's config is no longer valid.
    """
    settings = load_settings(storage_of(folder).fetch(folder / CONFIG_FILE), overrides)
    root = str(store_of(folder).root)
    return settings.model_copy(update={"store": settings.store.model_copy(update={"path": root})})


def find_results(name: str, store: Store, config: Path | None = None) -> PurePath:
    """Return the folder of a run that has delivered results; the arguments are as in `find_run`.

    Raises:
        InputError: there is no such run, or it has no results.
        StoreCorruptionError: the run has no results, and its run.json cannot be read.
    """
    folder = find_run(name, store, config)
    if is_complete(folder):
        return folder
    state, *_details = str(get_state(folder)).splitlines()
    told, remedy = f"it {state.rstrip(':')}", "`wenti runs` lists the runs that have some"
    if read_record(folder).is_withheld:
        remedy = (
            f"`wenti show {folder.name}` shows its questions, and to take them as they are, run "
            "again with `--set quality.on_breach=warn`"
        )
    raise InputError(f"run {folder.name} has no results, {told}; {remedy}")


def find_shown(name: str, store: Store, config: Path | None = None) -> tuple[PurePath, str | None]:
    """Return the folder of a run whose results can be looked at, and a note to show with them.

    These are also results of which nothing was delivered, because they are suspect: a note says so.

    Raises:
        InputError, StoreCorruptionError: as `find_results`.
    """
    folder = find_run(name, store, config)
    if is_complete(folder) or not read_record(folder).is_withheld:
        return find_results(name, store, config), None
    note = "failed because its questions are suspect; nothing of it was delivered"
    return folder, f"run {folder.name} {note}"


def find_run(name: str, store: Store, config: Path | None = None) -> PurePath:
    """Return the folder of a run.

    A retry keeps Prefect's id, but is a run of its own here: the newest one is returned.

    Args:
        name: the folder, the run's id, Prefect's id, `latest` (the complete run that ended last) or
            `newest` (the run that started last).
        store: the store to search.
        config: `latest` and `newest` are runs of this config file; None: of any.

    Raises:
        InputError: there is no such run.
    """
    if name in (LATEST, NEWEST):
        return _find_last(name, store, config)
    inside = [] if name.startswith("/") else [store.run_folder(name)]
    for folder in (*inside, place_at(name), *_tries_of(name, store)):
        storage = storage_of(folder)
        if storage.is_file(folder / RUN_FILE):
            return storage.resolve(folder)
    known = [folder.name for folder in list_runs(store)]
    raise InputError(f"there is no run {name!r} in {_where(store)}; {_suggest(name, known)}")


def _find_last(name: str, store: Store, config: Path | None) -> PurePath:
    """Return the run that `latest` or `newest` means.

    The link in the store is followed unless `config` is given, or the link is missing or, in a
    store of an older version, leads to a run that is not complete.
    """
    link = store.run_folder(name)
    is_there = config is None and storage_of(link).is_file(link / RUN_FILE)
    if is_there and (name == NEWEST or is_complete(link)):
        return storage_of(link).resolve(link)
    runs = [folder for folder in list_runs(store) if config is None or is_run_of(folder, config)]
    found = [folder for folder in runs if name == NEWEST or is_complete(folder)]
    if found:
        return storage_of(found[-1]).resolve(found[-1])
    of = "" if config is None else f" of {config}"
    if not runs:
        remedy = "--store or --config names another store"
        raise InputError(f"there is no run{of} in {_where(store)}; {remedy}")
    state = f"the newest run, {runs[-1].name}, {get_state(runs[-1])}"
    raise InputError(f"no run{of} in {_where(store)} is complete; {state}")


def _where(store: Store) -> str:
    return str(absolute_place(store.root))


def _suggest(name: str, known: Sequence[str]) -> str:
    if not known:
        return "it holds no runs; --store or --config names another store"
    near = difflib.get_close_matches(name, [*known, LATEST, NEWEST], n=1)
    return f"did you mean {near[0]}?" if near else f"newest: {known[-1]}"


def _tries_of(flow_run_id: str, store: Store) -> Iterator[PurePath]:
    """Yield the folders of the runs with this Prefect id, newest first."""
    with suppress(ValueError):
        wanted = str(UUID(flow_run_id))
        for record in reversed(list(read_records(store))):
            if record.flow_run_id == wanted:
                yield store.run_folder(record.run_id)
