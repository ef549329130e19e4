"""The places that a run writes to, checked before anything is written.

A run must not write over a file that it reads, nor over files that it did not make. A place that
cannot be written must be reported before hours of work, not after.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from tasks.config.files import list_files
from tasks.config.paths import model_folder
from tasks.config.settings import Settings
from tasks.engine.contract import CONTRACT_FILE
from tasks.environment import find_write_error
from tasks.findings import Finding
from tasks.output.folder import SETTING as DATA_SET
from tasks.output.folder import find_foreign
from tasks.passages.files import InputFile, entries_of, find_files, show_given, would_find
from tasks.passages.layout import KEY as PASSAGES
from tasks.plan.given_export import locate_given_export
from tasks.store.layout import ALWAYS_WRITTEN, FOLDERS, LATEST, NEWEST
from tasks.system_errors import find_cause

OUTPUT, COPY, STORE = "aggregate.output_path", "export.inference_model_dir", "store.path"
PADDLENLP_HOME = "PPNLP_HOME"  # the environment variable; without it, a folder in HOME
_DATA_SET_FILES = ("part-00000.parquet", "dt=0/part-00000.parquet")
# of a run, in the store
_RESULTS = ("predictions.jsonl", "predictions.parquet", "metrics.json", "predictions/0.parquet")


def find_place_faults(settings: Settings, config: Path | None = None) -> list[Finding]:
    """Return what is wrong with the places that a run of `config` writes to.

    Files are compared by inode, so that another spelling of a path, a symbolic link and a hard link
    are found too. Nothing is written.
    """
    given = settings.dataset.file
    found = () if given is None else find_files(given)
    files = () if isinstance(found, Finding) else found
    reads = _find_reads(settings, config, files)
    return [
        *_output_faults(settings, reads),
        *_data_set_faults(settings, reads),
        *_column_faults(settings),
        *_copy_faults(settings, reads),
        *_store_faults(settings.store.folder),
        *_store_in_input_faults(settings, files),
        *_variable_faults(settings),
    ]


def _find_reads(
    settings: Settings, config: Path | None, files: Sequence[InputFile]
) -> dict[Path, str]:
    """Return the files that a run reads, `files` of passages too, with what each of them is."""
    model, library = model_folder(settings.model), settings.export.library
    reads: dict[Path, str] = {}
    if config is not None:
        reads = dict.fromkeys(list_files(config), "a config that the config extends")
        reads[config] = "the config"
    if model is not None:
        with suppress(OSError):  # what cannot be read is a fault of the model
            reads |= dict.fromkeys(model.iterdir(), "a file of the model")
    given = locate_given_export(settings)
    if given is not None:
        reads |= dict.fromkeys(given.iterdir(), "a file of the given export")
    reads |= {file.path: _what(file) for file in files}
    if library is not None:
        reads[library] = "export.decoding_lib"
    return reads


def _what(file: InputFile) -> str:
    return PASSAGES if file.name is None else f"a file of {PASSAGES}"


def find_file_faults(key: str, path: Path, store: PurePath) -> list[Finding]:
    """Return what is wrong with a place that a file is to be written to, outside of the store.

    A file that is there already is no fault. Nothing is written.
    """
    try:
        fault = _find_file_fault(key, path, store)
    except OSError as error:
        fault = Finding(key, f"{path}: {error.strerror}", "give another path")
    return [*_parent_faults(key, path.parent, path.name)] if fault is None else [fault]


def _find_file_fault(key: str, path: Path, store: PurePath) -> Finding | None:
    if path.is_symlink():
        return Finding(key, f"{path} is a symbolic link", "give the path that it leads to")
    if path.is_dir():
        return Finding(key, f"{path} is a folder", "give the path of a file")
    if path.exists() and not path.is_file():
        return Finding(key, f"{path} is not a regular file", "give another path")
    if _is_inside(path, store):
        return Finding(key, f"{path} is inside the store", "give a path outside of it")
    return None


def _store_in_input_faults(settings: Settings, files: Sequence[InputFile]) -> Iterator[Finding]:
    """Yield the fault of passages that are looked for where the store is, or will be."""
    given, store = settings.dataset.file, settings.store.folder
    if given is None or not isinstance(store, Path):
        return
    entries = entries_of(given)
    found = (one.path for one in files if one.path not in entries and _is_inside(one.path, store))
    inside = next(found, None)
    if folder := next((one for one in entries if _is_folder_of(store, one)), None):
        problem = f"{folder} has the store in it, {store}"
        yield Finding(PASSAGES, problem, "give a folder of passages only")
    elif inside is not None:
        yield Finding(PASSAGES, f"{inside} is inside the store", "name passages outside of it")
    elif any(would_find(given, store / "runs" / LATEST / result) for result in _RESULTS):
        problem = f"{show_given(given)} would find the results of runs in the store, {store}"
        yield Finding(PASSAGES, problem, "name passages outside of it")


def _is_folder_of(path: Path, folder: Path) -> bool:
    return _is_folder(folder) and _is_inside(path, folder)


def _output_faults(settings: Settings, reads: Mapping[Path, str]) -> Iterator[Finding]:
    for path in settings.aggregate.output_files:
        try:
            fault = _find_output_fault(path, settings, reads)
        except OSError as error:  # such as a name that is too long with the suffix of a partial run
            fault = Finding(OUTPUT, f"{path}: {error.strerror}", "give another path")
        if fault is not None:
            yield fault
            return
        if faults := list(_parent_faults(OUTPUT, path.parent, path.name)):
            yield from faults
            return


def _find_output_fault(path: Path, settings: Settings, reads: Mapping[Path, str]) -> Finding | None:
    another, given = "give another path", settings.dataset.file
    for read, what in reads.items():
        if _is_same(path, read):
            return Finding(OUTPUT, f"{path} is {what}, which the run reads", another)
    if fault := _find_file_fault(OUTPUT, path, settings.store.folder):
        return fault
    if given is not None and would_find(given, path):
        problem = f"{path} is where {PASSAGES} finds files, so the next run would read it"
        return Finding(OUTPUT, problem, "give a path outside of it")
    return None


def _data_set_faults(settings: Settings, reads: Mapping[Path, str]) -> Iterator[Finding]:
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
        yield from _parent_faults(DATA_SET, folder.parent, folder.name)


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
    inside = next((read for read in reads if _is_inside(read, folder)), None)
    if inside is not None:
        problem = f"{folder} holds {reads[inside]}, which the run reads"
        return Finding(DATA_SET, problem, another)
    if _is_inside(folder, store):
        return Finding(DATA_SET, f"{folder} is inside the store", "give a folder outside of it")
    if _is_inside(store, folder):
        return Finding(DATA_SET, f"{folder} contains the store, {store}", another)
    for key, other in ((OUTPUT, settings.aggregate.output), (COPY, copy)):
        if other is not None and _is_inside(other, folder):
            return Finding(DATA_SET, f"{folder} is where {key} is written to", another)
    if given is not None and any(would_find(given, folder / name) for name in _DATA_SET_FILES):
        problem = f"{folder} is where {PASSAGES} finds files, so the next run would read it"
        return Finding(DATA_SET, problem, "give a folder outside of it")
    foreign = find_foreign(folder)
    if foreign is not None:
        return Finding(DATA_SET, f"{folder} holds {foreign}, which Wenti did not write", another)
    return None


def _column_faults(settings: Settings) -> Iterator[Finding]:
    asked = {
        "partition_by": settings.aggregate.partition_by,
        "group_by": settings.aggregate.group_by,
    }
    for key, columns in asked.items():
        if columns and settings.dataset.keep_columns == "none":
            problem = "the columns of the passages are not kept (dataset.keep_columns is none)"
            yield Finding(f"aggregate.{key}", problem, "keep them")


def _copy_faults(settings: Settings, reads: Mapping[Path, str]) -> Iterator[Finding]:
    folder, model = settings.export.copy_folder, model_folder(settings.model)
    given = settings.dataset.file
    if folder is None or locate_given_export(settings) is not None:
        return  # a given export is only read
    if model is not None and _is_same(folder, model):
        yield Finding(COPY, f"{folder} is the folder of the model", "give another folder")
    elif _is_inside(folder, settings.store.folder):
        yield Finding(COPY, f"{folder} is inside the store", "give a folder outside of it")
    elif any(_is_same(folder / read.name, read) for read in reads):
        yield Finding(COPY, f"{folder} holds files that the run reads", "give another folder")
    elif given is not None and would_find(given, folder / CONTRACT_FILE):
        problem = f"{folder} is where {PASSAGES} finds files, so the next run would read its files"
        yield Finding(COPY, problem, "give a folder outside of it")
    elif not _is_ours_or_empty(folder):
        remedy = "give a new or empty folder, or one with an earlier export of Wenti"
        yield Finding(COPY, f"{folder} holds files that Wenti did not write", remedy)
    else:
        yield from _folder_faults(COPY, folder)


def _is_ours_or_empty(folder: Path) -> bool:
    names: set[str] = set()
    with suppress(OSError):  # it is missing, or closed, which is a fault of its own
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return not names or CONTRACT_FILE in names


def _variable_faults(settings: Settings) -> Iterator[Finding]:
    """Yield the fault of the folder in which PaddleNLP makes folders when it is imported."""
    folder = os.environ.get(PADDLENLP_HOME)
    if folder and settings.export.engine != "fake":
        yield from _folder_faults(PADDLENLP_HOME, Path(folder))


def _store_faults(store: PurePath) -> Iterator[Finding]:
    """Yield the faults of the store, of its folders, and of what is in the place of its links."""
    if not isinstance(store, Path):  # a bucket is checked when a run opens it
        return
    written = [store, *(store / name for name in ALWAYS_WRITTEN)]
    others = [store / name for name in FOLDERS]
    folders = [*written, *(one for one in others if os.path.lexists(one) and not _is_folder(one))]
    found = (list(_folder_faults(STORE, folder)) for folder in folders)
    yield from next(filter(None, found), [])
    for link in (store / "runs" / LATEST, store / "runs" / NEWEST):
        if os.path.lexists(link) and not link.is_symlink():
            problem = f"{link} is not the link that a run puts there"
            yield Finding(STORE, problem, "move it away, or give another store")


def _folder_faults(key: str, folder: Path) -> Iterator[Finding]:
    """Yield the fault of a folder that files cannot be written into, or that cannot be made."""
    if os.path.lexists(folder) and folder.is_symlink() and not _is_folder(folder):
        yield Finding(key, f"{folder} is a broken link", "mount what it leads to, or remove it")
    else:
        yield from _parent_faults(key, folder)


def _parent_faults(key: str, folder: Path, name: str = "") -> Iterator[Finding]:
    """Yield the fault of a folder that will be made, with its parents, if it is missing.

    A file of this name will be written into it.
    """
    folder = folder.absolute()
    existing = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not _is_folder(existing):
        yield Finding(key, f"{existing} is not a folder", "give another path")
    elif error := find_write_error(existing):
        problem, remedy = find_cause(error, f"with `{key}`")
        yield Finding(key, f"{existing} cannot be written: {problem}", remedy)
    elif len(os.fsencode(name)) > os.pathconf(existing, "PC_NAME_MAX"):
        yield Finding(key, f"{folder / name}: file name too long", "give another path")


def _is_folder(path: Path) -> bool:
    with suppress(OSError):  # a folder above it is closed
        return path.is_dir()
    return False


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one of them does not exist
        return False


def _is_inside(path: PurePath, folder: PurePath) -> bool:
    if not (isinstance(path, Path) and isinstance(folder, Path)):
        return False  # one of them is in an object store
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
