"""Whether a file or a folder can be written at a path of this machine; nothing is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath

from tasks.addresses import ObjectPlace
from tasks.environment import find_write_error
from tasks.findings import Finding
from tasks.system_errors import find_cause


def find_file_faults(key: str, path: Path, store: PurePath) -> list[Finding]:
    """Return what is wrong with a place that a file is to be written to, outside of the store.

    A file that is there already is no fault. Nothing is written.
    """
    try:
        fault = find_file_fault(key, path, store)
    except OSError as error:
        fault = Finding(key, f"{path}: {error.strerror}", "give another path")
    return [*find_parent_faults(key, path.parent, path.name)] if fault is None else [fault]


def find_file_fault(key: str, path: Path, store: PurePath) -> Finding | None:
    """Return what in the place of a file is not one that can be replaced; None if nothing."""
    if path.is_symlink():
        return Finding(key, f"{path} is a symbolic link", "give the path that it leads to")
    if path.is_dir():
        return Finding(key, f"{path} is a folder", "give the path of a file")
    if path.exists() and not path.is_file():
        return Finding(key, f"{path} is not a regular file", "give another path")
    if is_inside(path, store):
        return Finding(key, f"{path} is inside the store", "give a path outside of it")
    return None


def find_folder_faults(key: str, folder: Path) -> Iterator[Finding]:
    """Yield the fault of a folder that files cannot be written into, or that cannot be made."""
    if os.path.lexists(folder) and folder.is_symlink() and not is_folder(folder):
        yield Finding(key, f"{folder} is a broken link", "mount what it leads to, or remove it")
    else:
        yield from find_parent_faults(key, folder)


def find_parent_faults(key: str, folder: Path, name: str = "") -> Iterator[Finding]:
    """Yield the fault of a folder that will be made, with its parents, if it is missing.

    A file of this name will be written into it.
    """
    folder = folder.absolute()
    existing = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not is_folder(existing):
        yield Finding(key, f"{existing} is not a folder", "give another path")
    elif error := find_write_error(existing):
        problem, remedy = find_cause(error, f"with `{key}`")
        yield Finding(key, f"{existing} cannot be written: {problem}", remedy)
    elif len(os.fsencode(name)) > os.pathconf(existing, "PC_NAME_MAX"):
        yield Finding(key, f"{folder / name}: file name too long", "give another path")


def is_folder(path: Path) -> bool:
    """Return whether this is a folder that can be looked at."""
    with suppress(OSError):  # a folder above it is closed
        return path.is_dir()
    return False


def is_same(path: Path, other: Path) -> bool:
    """Return whether two paths lead to the same file or folder."""
    try:
        return path.samefile(other)
    except OSError:  # one of them does not exist
        return False


def is_inside(path: PurePath, folder: PurePath) -> bool:
    """Return whether a place is below a folder of the same machine or bucket, or is that folder."""
    if isinstance(path, ObjectPlace) or isinstance(folder, ObjectPlace):
        return type(path) is type(folder) and path.is_relative_to(folder)
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
