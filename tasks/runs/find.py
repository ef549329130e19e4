"""Finding runs in a store by id or folder, or the latest one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from uuid import UUID

from pydantic import ValidationError

from tasks.config.loading import load_settings
from tasks.config.settings import Settings
from tasks.errors import InputError, StorageError, StoreCorruptionError
from tasks.runs.record import RunRecord
from tasks.runs.results import CONFIG_FILE, RUN_FILE, SUCCESS_FILE
from tasks.store.files import storage_of
from tasks.store.layout import Store
from tasks.store.manifest import on_one_line

_WITHOUT_RESULTS = {
    "running": "it is running, or was killed",
    "failed": "it failed",
    "interrupted": "it was interrupted",
    "completed": f"it completed, but its {SUCCESS_FILE} is gone",
}


def find_previous(store: Store, config_file: str) -> RunRecord | None:
    """Return the record of the newest run of a config file that has `decided_by`; None without one.

    Call it before a run starts: afterwards, the run's own record is the newest.
    """
    records = [record for record in read_records(store) if _is_of(record, config_file)]
    return records[-1] if records else None


def _is_of(record: RunRecord, config_file: str) -> bool:
    # Older versions of Wenti did not record what decided a run.
    return record.config_file == config_file and record.decided_by is not None


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


def name_origins(store: Store, rows: Mapping[str, int], run_id: str) -> dict[str, int]:
    """Return numbers of rows by run, given them by the fingerprint of the run's predictions.

    The run is the newest one with these predictions except `run_id`; predictions that no run has
    any more keep their fingerprint.
    """
    if not rows:
        return {}
    records = (record for record in read_records(store) if record.run_id != run_id)
    names = {record.predictions: record.run_id for record in records}
    return {names.get(predictions, predictions): count for predictions, count in rows.items()}


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


def find_results(name: str, store: Store) -> PurePath:
    """Return the folder of a run that has results; `name` is as in `find_run`.

    Raises:
        InputError: there is no such run, or it has no results.
        StoreCorruptionError: the run has no results, and its run.json cannot be read.
    """
    folder = find_run(name, store)
    if not storage_of(folder).is_file(folder / SUCCESS_FILE):
        record = read_record(folder)
        why = "" if record.error is None else f": {record.error}"
        state = _WITHOUT_RESULTS.get(record.state, record.state)
        raise InputError(f"run {folder.name} has no results; {state}{why}")
    return folder


def find_run(name: str, store: Store) -> PurePath:
    """Return the folder of a run, given that folder, the run's id, Prefect's id, or `latest`.

    A retry keeps Prefect's id, but is a run of its own here: the newest one is returned.

    Raises:
        InputError: there is no such run.
    """
    for folder in (store.run_folder(name), Path(name), *_tries_of(name, store)):
        storage = storage_of(folder)
        if storage.is_file(folder / RUN_FILE):
            return storage.resolve(folder)
    known = [folder.name for folder in list_runs(store)]
    hint = f"newest: {known[-1]}" if known else f"{store.root} holds no runs; --store names another"
    raise InputError(f"there is no run {name!r} in {store.root}; {hint}")


def _tries_of(flow_run_id: str, store: Store) -> Iterator[PurePath]:
    """Yield the folders of the runs with this Prefect id, newest first."""
    with suppress(ValueError):
        wanted = str(UUID(flow_run_id))
        for record in reversed(list(read_records(store))):
            if record.flow_run_id == wanted:
                yield store.run_folder(record.run_id)
