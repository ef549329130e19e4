"""Writing a report into the folder of its run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from tasks.errors import StoreCorruptionError
from tasks.report.facts import gather_facts
from tasks.report.page import render_report
from tasks.runs.find import read_record, store_of
from tasks.runs.metrics import read_metrics
from tasks.runs.record import RunRecord
from tasks.runs.results import METRICS_FILE, REPORT_FILE, SUCCESS_FILE
from tasks.runs.run import commit_json
from tasks.store.files import commit_bytes, describe_file, storage_of
from tasks.store.lock import shared_lock
from tasks.store.manifest import verify_files
from tasks.store.storage import FileEntry


def write_report(folder: PurePath, record: RunRecord, metrics: Mapping[str, Any]) -> FileEntry:
    """Write the report of a run from its results, record and metrics; return its manifest entry.

    Raises:
        StoreCorruptionError: a result cannot be read.
        StorageError: the store cannot be written.
    """
    page = render_report(gather_facts(folder, record, metrics))
    return commit_bytes(folder / REPORT_FILE, page.encode())


def ensure_report(folder: PurePath) -> PurePath:
    """Return the path of a run's report; make the report if it is missing or damaged.

    This version of Wenti may make a different page than the run did, so `_SUCCESS` is updated.

    Raises:
        StoreCorruptionError: another result of the run is damaged.
        StorageError: the store cannot be written.
    """
    path = folder / REPORT_FILE
    if read_record(folder).is_withheld:  # without `_SUCCESS`
        if not storage_of(path).is_file(path):
            write_report(folder, read_record(folder), read_metrics(folder))
        return path
    mark = _read_mark(folder)
    entries = {entry["name"]: FileEntry.model_validate(entry) for entry in mark["files"]}
    entry = entries.pop(REPORT_FILE, None)
    if storage_of(path).is_file(path) and describe_file(path) == entry:
        return path
    with shared_lock(store_of(folder)):
        _check(folder, entries.values())
        metrics = json.loads(storage_of(folder).read(folder / METRICS_FILE))
        entries[REPORT_FILE] = write_report(folder, read_record(folder), metrics)
        files = [entries[name].model_dump() for name in sorted(entries)]
        commit_json(folder / SUCCESS_FILE, {**mark, "files": files})
    return path


def _read_mark(folder: PurePath) -> dict[str, Any]:
    path = folder / SUCCESS_FILE
    try:
        return dict(json.loads(storage_of(path).read(path)))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        remedy = f"`wenti rerun {folder}` makes new results"
        raise StoreCorruptionError(f"{path} is damaged ({error}); {remedy}") from error


def _check(folder: PurePath, results: Iterable[FileEntry]) -> None:
    try:
        verify_files(folder, list(results))
    except StoreCorruptionError as error:
        remedy = f"`wenti verify {folder} --repair` remakes what it can"
        raise StoreCorruptionError(f"{error}; {remedy}") from error
