"""A folder that is replaced as a whole, if it is empty or Wenti has made it.

The new folder is written beside the old one and takes its place in one step. `_SUCCESS` lists its
files, so that one with other files is left alone; `_PARTIAL` stands there instead if rows are
missing.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tasks.errors import StorageError
from tasks.system_errors import storage_faults

SETTING = "aggregate.output_folder"
MARKS = ("_SUCCESS", "_PARTIAL")
MAKER = "wenti"

# What readers leave behind: Hadoop's checksums, the Finder's notes, files that NFS keeps open.
_DROPPINGS = (".*.crc", ".DS_Store", ".nfs*")
_SUFFIX = ".wenti-new"
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD
_CANNOT_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def replaced_folder(place: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `place` when the block ends without an error.

    What a killed process has left behind beside `place` is removed.

    Raises:
        StorageError: it cannot be written, or `place` holds files that Wenti did not write.
    """
    with storage_faults(place, SETTING):
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(place)
        new = place.with_name(f".{_start(place)}.{secrets.token_hex(4)}{_SUFFIX}")
        new.mkdir()
        lock = os.open(new, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield new
            _sync(new)
            if (foreign := find_foreign(place)) is not None:
                raise StorageError(f"{place} holds {foreign}, which Wenti did not write; move it")
            _put(new, place)
        finally:
            os.close(lock)
            shutil.rmtree(new, ignore_errors=True)  # if it was replaced, this is the old one


def write_mark(folder: Path, is_partial: bool, content: Mapping[str, Any]) -> None:
    """Write the mark of a finished folder, which lists the files that are in it.

    Raises:
        OSError: it cannot be written.
    """
    files = sorted(_list_files(folder))
    text = json.dumps({"made_by": MAKER, **content, "files": files}, ensure_ascii=False, indent=2)
    (folder / MARKS[is_partial]).write_text(f"{text}\n", encoding="utf-8")


def find_foreign(folder: Path) -> str | None:
    """Return a file in a folder that Wenti did not write; None if there is none, or no folder.

    Hidden files count, except those that readers and file systems leave behind.

    Raises:
        OSError: the folder cannot be read.
    """
    found = {name for name in _list_files(folder) if not _is_dropping(name)}
    known = {name for mark in MARKS for name in _read_mark(folder / mark)}
    return min(found - known, default=None)


def _is_dropping(name: str) -> bool:
    return any(fnmatchcase(Path(name).name, pattern) for pattern in _DROPPINGS)


def _read_mark(path: Path) -> list[str]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        mark = json.loads(path.read_bytes())
        if mark["made_by"] == MAKER:
            return [path.name, *map(str, mark["files"])]
    return []


def _list_files(folder: Path) -> Iterator[str]:
    """Yield the paths of all that is in a folder, and is no folder, relative to it."""
    if not folder.exists():
        return

    def fail(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=fail):
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (Path(place, name).relative_to(folder).as_posix() for name in names + links)


def _put(new: Path, place: Path) -> None:
    """Put a folder in the place of another one, or of none; the old one is then at `new`."""
    if place.exists() and not _exchange(new, place):
        old = new.with_name(f"{new.name.removesuffix(_SUFFIX)}-old{_SUFFIX}")
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    elif not place.exists():
        new.rename(place)
    _sync_folder(place.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; return False where the file system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _remove_leftovers(place: Path) -> None:
    """Remove the folders of processes that were killed: those that nobody has locked."""
    for left in place.parent.glob(f".{_escape(_start(place))}.*{_SUFFIX}"):
        with suppress(OSError):  # somebody else's
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if any(left.iterdir()):  # an empty one may be about to be locked
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


def _start(place: Path) -> str:
    """Return the start of a name, so that a temporary name made of it is not too long."""
    return os.fsdecode(os.fsencode(place.name)[:200])


def _escape(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _sync(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for path in (*(Path(place, name) for name in names), Path(place)):
            _sync_folder(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
