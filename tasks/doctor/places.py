"""The places that a run writes to, checked before anything is written.

A run must not write over a file that it reads, nor over files that it did not make. A place that
cannot be written must be reported before hours of work, not after.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from tasks.addresses import ObjectPlace
from tasks.config.files import list_files
from tasks.config.paths import model_folder
from tasks.config.settings import Settings
from tasks.doctor.outputs import COPY, find_data_set_faults, find_output_faults
from tasks.doctor.outputs import OUTPUT as OUTPUT
from tasks.doctor.paths import find_folder_faults, is_folder, is_inside, is_same
from tasks.engine.contract import CONTRACT_FILE
from tasks.findings import Finding
from tasks.passages.files import find_files, would_find
from tasks.passages.finding.file import Given, InputFile, entries_of, show_given
from tasks.passages.layout import KEY as PASSAGES
from tasks.plan.given_export import locate_given_export
from tasks.plan.plan import list_addresses
from tasks.store.layout import ALWAYS_WRITTEN, FOLDERS, LATEST, NEWEST

STORE = "store.path"
PADDLENLP_HOME = "PPNLP_HOME"  # the environment variable; without it, a folder in HOME
# of a run, in the store
_RESULTS = ("predictions.jsonl", "predictions.parquet", "metrics.json", "predictions/0.parquet")


def find_place_faults(settings: Settings, config: Path | None = None) -> list[Finding]:
    """Return what is wrong with the places that a run of `config` writes to.

    Files are compared by inode, so that another spelling of a path, a symbolic link and a hard link
    are found too. Object stores are not asked (`find_bucket_faults` does), and nothing is written.
    """
    files = _files_here(settings.dataset.file)
    reads = _find_reads(settings, config, files)
    return [
        *find_output_faults(settings, reads),
        *find_data_set_faults(settings, reads),
        *_column_faults(settings),
        *_copy_faults(settings, reads),
        *_store_faults(settings.store.folder),
        *_store_in_input_faults(settings, files),
        *_endpoint_faults(settings),
        *_variable_faults(settings),
    ]


def _files_here(given: Given | None) -> tuple[InputFile, ...]:
    """Return the files of passages on this machine."""
    if given is None or any(isinstance(one, ObjectPlace) for one in entries_of(given)):
        return ()
    found = find_files(given)
    return () if isinstance(found, Finding) else found


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


def _store_in_input_faults(settings: Settings, files: Sequence[InputFile]) -> Iterator[Finding]:
    """Yield the fault of passages that are looked for where the store is, or will be."""
    given, store = settings.dataset.file, settings.store.folder
    if given is None:
        return
    entries = entries_of(given)
    found = (one.path for one in files if one.path not in entries and is_inside(one.path, store))
    inside = next(found, None)
    if folder := next((one for one in entries if _has_inside(one, store)), None):
        problem = f"{folder} has the store in it, {store}"
        yield Finding(PASSAGES, problem, "give a folder of passages only")
    elif inside is not None:
        yield Finding(PASSAGES, f"{inside} is inside the store", "name passages outside of it")
    elif any(would_find(given, store / "runs" / LATEST / result) for result in _RESULTS):
        problem = f"{show_given(given)} would find the results of runs in the store, {store}"
        yield Finding(PASSAGES, problem, "name passages outside of it")


def _has_inside(entry: PurePath, store: PurePath) -> bool:
    """Return whether an entry is a folder with the store in it; of objects, it may be one."""
    may_be = isinstance(entry, ObjectPlace) or is_folder(Path(entry))
    return may_be and is_inside(store, entry)


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
    if model is not None and is_same(folder, model):
        yield Finding(COPY, f"{folder} is the folder of the model", "give another folder")
    elif is_inside(folder, settings.store.folder):
        yield Finding(COPY, f"{folder} is inside the store", "give a folder outside of it")
    elif any(is_same(folder / read.name, read) for read in reads):
        yield Finding(COPY, f"{folder} holds files that the run reads", "give another folder")
    elif given is not None and would_find(given, folder / CONTRACT_FILE):
        problem = f"{folder} is where {PASSAGES} finds files, so the next run would read its files"
        yield Finding(COPY, problem, "give a folder outside of it")
    elif not _is_ours_or_empty(folder):
        remedy = "give a new or empty folder, or one with an earlier export of Wenti"
        yield Finding(COPY, f"{folder} holds files that Wenti did not write", remedy)
    else:
        yield from find_folder_faults(COPY, folder)


def _is_ours_or_empty(folder: Path) -> bool:
    names: set[str] = set()
    with suppress(OSError):  # it is missing, or closed, which is a fault of its own
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return not names or CONTRACT_FILE in names


def _endpoint_faults(settings: Settings) -> Iterator[Finding]:
    """Yield that one server cannot be that of two kinds of object stores."""
    schemes = sorted({f"{place.scheme}://" for place in list_addresses(settings)})
    if settings.store.endpoint is not None and len(schemes) > 1:
        problem = f"it is the server of all addresses, but they are {' and '.join(schemes)}"
        remedy = "leave it out, and name servers in the environment (docs/object-stores.md)"
        yield Finding("store.endpoint", problem, remedy)


def _variable_faults(settings: Settings) -> Iterator[Finding]:
    """Yield the fault of the folder in which PaddleNLP makes folders when it is imported."""
    folder = os.environ.get(PADDLENLP_HOME)
    if folder and settings.export.engine != "fake":
        yield from find_folder_faults(PADDLENLP_HOME, Path(folder))


def _store_faults(store: PurePath) -> Iterator[Finding]:
    """Yield the faults of the store, of its folders, and of what is in the place of its links."""
    if not isinstance(store, Path):  # a bucket is checked when a run opens it
        return
    written = [store, *(store / name for name in ALWAYS_WRITTEN)]
    others = [store / name for name in FOLDERS]
    folders = [*written, *(one for one in others if os.path.lexists(one) and not is_folder(one))]
    found = (list(find_folder_faults(STORE, folder)) for folder in folders)
    yield from next(filter(None, found), [])
    for link in (store / "runs" / LATEST, store / "runs" / NEWEST):
        if os.path.lexists(link) and not link.is_symlink():
            problem = f"{link} is not the link that a run puts there"
            yield Finding(STORE, problem, "move it away, or give another store")
