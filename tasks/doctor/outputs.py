"""The places outside of the store to which a run delivers results: a file, and a data set."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import TypeGuard

from tasks.addresses import ObjectPlace
from tasks.config.settings import Settings
from tasks.doctor.paths import find_file_fault, find_parent_faults, is_inside, is_same
from tasks.errors import UnusableError
from tasks.findings import Finding
from tasks.output.folder import SETTING as DATA_SET
from tasks.output.folder import find_foreign
from tasks.output.marks import PROBE
from tasks.output.objects import find_foreign_object
from tasks.passages.files import would_find
from tasks.passages.finding.file import Given, entries_of
from tasks.passages.layout import KEY as PASSAGES
from tasks.store.objects.connection import open_storage

OUTPUT, COPY = "aggregate.output_path", "export.inference_model_dir"
_ANOTHER = "give a new or empty folder, or one that a run of Wenti has written"
_DATA_SET_FILES = ("part-00000.parquet", "dt=0/part-00000.parquet")


def find_output_faults(settings: Settings, reads: Mapping[Path, str]) -> Iterator[Finding]:
    """Yield what is wrong with `aggregate.output_path`."""
    for path in settings.aggregate.output_files:
        try:
            fault = _find_output_fault(path, settings, reads)
        except OSError as error:  # such as a name that is too long with the suffix of a partial run
            fault = Finding(OUTPUT, f"{path}: {error.strerror}", "give another path")
        if fault is not None:
            yield fault
            return
        if _is_here(path) and (faults := [*find_parent_faults(OUTPUT, path.parent, path.name)]):
            yield from faults
            return


def _find_output_fault(
    path: PurePath, settings: Settings, reads: Mapping[Path, str]
) -> Finding | None:
    another, given = "give another path", settings.dataset.file
    for read, what in reads.items():
        if _is_here(path) and is_same(path, read):
            return Finding(OUTPUT, f"{path} is {what}, which the run reads", another)
    store = settings.store.folder
    if isinstance(path, ObjectPlace):
        fault = find_address_fault(OUTPUT, path, store, given)
    else:
        fault = find_file_fault(OUTPUT, Path(path), store)
    if fault is not None:
        return fault
    if given is not None and would_find(given, path):
        problem = f"{path} is where {PASSAGES} finds files, so the next run would read it"
        return Finding(OUTPUT, problem, "give a path outside of it")
    return None


def find_data_set_faults(settings: Settings, reads: Mapping[Path, str]) -> Iterator[Finding]:
    """Yield what is wrong with `aggregate.output_folder`."""
    folder = settings.aggregate.data_set
    if folder is None:
        return
    try:
        fault = _find_data_set_fault(folder, settings, reads)
    except OSError as error:
        fault = Finding(DATA_SET, f"{folder}: {error.strerror}", "give another folder")
    if fault is not None:
        yield fault
    elif isinstance(folder, Path):
        yield from find_parent_faults(DATA_SET, folder.parent, folder.name)


def _find_data_set_fault(
    folder: PurePath, settings: Settings, reads: Mapping[Path, str]
) -> Finding | None:
    store, given, copy = settings.store.folder, settings.dataset.file, settings.export.copy_folder
    if isinstance(folder, ObjectPlace):
        fault = find_address_fault(DATA_SET, folder, store, given)
    else:
        fault = _find_folder_fault(Path(folder), store, reads)
    if fault is not None:
        return fault
    if is_inside(store, folder):
        return Finding(DATA_SET, f"{folder} contains the store, {store}", _ANOTHER)
    for key, other in ((OUTPUT, settings.aggregate.output), (COPY, copy)):
        if other is not None and is_inside(other, folder):
            return Finding(DATA_SET, f"{folder} is where {key} is written to", _ANOTHER)
    if given is not None and any(would_find(given, folder / name) for name in _DATA_SET_FILES):
        problem = f"{folder} is where {PASSAGES} finds files, so the next run would read it"
        return Finding(DATA_SET, problem, "give a folder outside of it")
    foreign = find_foreign(folder) if isinstance(folder, Path) else None
    if foreign is not None:
        return Finding(DATA_SET, f"{folder} holds {foreign}, which Wenti did not write", _ANOTHER)
    return None


def _find_folder_fault(folder: Path, store: PurePath, reads: Mapping[Path, str]) -> Finding | None:
    if folder.is_symlink():
        return Finding(DATA_SET, f"{folder} is a symbolic link", "give what it leads to")
    if folder.exists() and not folder.is_dir():
        return Finding(DATA_SET, f"{folder} is not a folder", _ANOTHER)
    if os.path.ismount(folder):  # it cannot be renamed
        return Finding(DATA_SET, f"{folder} is a mount point", "give a folder inside it")
    inside = next((read for read in reads if is_inside(read, folder)), None)
    if inside is not None:
        problem = f"{folder} holds {reads[inside]}, which the run reads"
        return Finding(DATA_SET, problem, _ANOTHER)
    if is_inside(folder, store):
        return Finding(DATA_SET, f"{folder} is inside the store", "give a folder outside of it")
    return None


def find_address_fault(
    key: str, place: ObjectPlace, store: PurePath, given: Given | None = None
) -> Finding | None:
    """Return why an address cannot be that of results; the object store is not asked."""
    if not place.key:
        return Finding(
            key, f"{place} is a {place.noun}", f"give an address in it, such as {place}/out"
        )
    if is_inside(place, store):
        return Finding(key, f"{place} is inside the store", "give an address outside of it")
    read = () if given is None else entries_of(given)
    if any(is_inside(one, place) for one in read):
        problem = f"{place} has {PASSAGES} in it, or is it, which the run reads"
        return Finding(key, problem, "give another address")
    return None


def check_deliveries(settings: Settings) -> list[Finding]:
    """Return whether the addresses of results can be written: an object is stored and deleted."""
    asked = {OUTPUT: settings.aggregate.output, DATA_SET: settings.aggregate.data_set}
    return [
        _check_delivery(key, place)
        for key, place in asked.items()
        if isinstance(place, ObjectPlace) and place.key
    ]


def _check_delivery(key: str, place: ObjectPlace) -> Finding:
    is_file, name = key == OUTPUT, f"{PROBE}{secrets.token_hex(8)}"
    try:
        files = open_storage(place).files
        found = files.find(place)
        if is_file and files.below(place):
            return Finding(key, f"{place} is a folder", "give the address of a file")
        if not is_file and found is not None and found.size:
            return Finding(key, f"{place} is a file", "give the address of a folder")
        foreign = None if is_file else find_foreign_object(files, place)
        if foreign is not None:
            problem = f"{place} holds {foreign}, which Wenti did not write"
            return Finding(key, problem, _ANOTHER)
        # A policy may allow what begins with the name of the file.
        files.check_writable(place.with_name(f"{place.name}.{name}") if is_file else place / name)
    except UnusableError as error:
        return Finding(key, str(error))
    return Finding(key, f"{place} can be written", severity="ok")


def _is_here(path: PurePath) -> TypeGuard[Path]:
    return isinstance(path, Path)
