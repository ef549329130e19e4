"""The places outside of the store to which a run delivers results: a file, and a data set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks.config.settings import Settings
from tasks.doctor.paths import find_file_fault, find_parent_faults, is_inside, is_same
from tasks.findings import Finding
from tasks.output.folder import SETTING as DATA_SET
from tasks.output.folder import find_foreign
from tasks.passages.files import would_find
from tasks.passages.layout import KEY as PASSAGES

OUTPUT, COPY = "aggregate.output_path", "export.inference_model_dir"
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
        if faults := list(find_parent_faults(OUTPUT, path.parent, path.name)):
            yield from faults
            return


def _find_output_fault(path: Path, settings: Settings, reads: Mapping[Path, str]) -> Finding | None:
    another, given = "give another path", settings.dataset.file
    for read, what in reads.items():
        if is_same(path, read):
            return Finding(OUTPUT, f"{path} is {what}, which the run reads", another)
    if fault := find_file_fault(OUTPUT, path, settings.store.folder):
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
    else:
        yield from find_parent_faults(DATA_SET, folder.parent, folder.name)


def _find_data_set_fault(
    folder: Path, settings: Settings, reads: Mapping[Path, str]
) -> Finding | None:
    store, given, copy = settings.store.folder, settings.dataset.file, settings.export.copy_folder
    another = "give a new or empty folder, or one that a run of Wenti has written"
    if folder.is_symlink():
        return Finding(DATA_SET, f"{folder} is a symbolic link", "give what it leads to")
    if folder.exists() and not folder.is_dir():
        return Finding(DATA_SET, f"{folder} is not a folder", another)
    if os.path.ismount(folder):  # it cannot be renamed
        return Finding(DATA_SET, f"{folder} is a mount point", "give a folder inside it")
    inside = next((read for read in reads if is_inside(read, folder)), None)
    if inside is not None:
        problem = f"{folder} holds {reads[inside]}, which the run reads"
        return Finding(DATA_SET, problem, another)
    if is_inside(folder, store):
        return Finding(DATA_SET, f"{folder} is inside the store", "give a folder outside of it")
    if is_inside(store, folder):
        return Finding(DATA_SET, f"{folder} contains the store, {store}", another)
    for key, other in ((OUTPUT, settings.aggregate.output), (COPY, copy)):
        if other is not None and is_inside(other, folder):
            return Finding(DATA_SET, f"{folder} is where {key} is written to", another)
    if given is not None and any(would_find(given, folder / name) for name in _DATA_SET_FILES):
        problem = f"{folder} is where {PASSAGES} finds files, so the next run would read it"
        return Finding(DATA_SET, problem, "give a folder outside of it")
    foreign = find_foreign(folder)
    if foreign is not None:
        return Finding(DATA_SET, f"{folder} holds {foreign}, which Wenti did not write", another)
    return None
