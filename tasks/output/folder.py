"""A folder that is replaced as a whole, if it is empty or Wenti has made it.

The new folder is written beside the old one and takes its place in one step. `_SUCCESS` lists its
files, so that one with other files is left alone; `_PARTIAL` stands there instead if rows are
missing.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.errors import StorageError
from tasks.output.marks import HIDDEN, MARKS, find_unknown, list_files
from tasks.system_errors import storage_faults

SETTING = "aggregate.output_folder"
_SUFFIX = ".wenti-new"
_OLD = f".old{_SUFFIX}"
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD
_CANNOT_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def replaced_folder(place: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `place` when the block ends without an error.

    It is beside `place`, maybe in a data set that others read with `**/*.parquet`, so its files get
    names with `HIDDEN` at their end, which are taken off just before. What killed processes have
    left behind beside `place` is removed.

    Raises:
        StorageError: it cannot be written, or `place` holds files that Wenti did not write.
    """
    place = Path(os.path.realpath(place))
    with storage_faults(place, SETTING):
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(place.parent)
        new = place.with_name(f".{_start(place)}.{secrets.token_hex(4)}{_SUFFIX}")
        new.mkdir()
        try:
            with _locked(new):
                _take_permissions(place, new)
                yield new
                _sync(new)
                if (found := find_foreign(place)) is not None:
                    raise StorageError(f"{place} holds {found}, which Wenti did not write; move it")
                _put(new, place)
        finally:
            _remove(new)  # if it was replaced, this is the old one


def find_foreign(folder: Path) -> str | None:
    """Return a file in a folder that Wenti did not write; None if there is none, or no folder.

    Raises:
        OSError: the folder cannot be read.
    """
    marks = dict[str, bytes]()
    for mark in MARKS:
        with suppress(OSError):
            marks[mark] = (folder / mark).read_bytes()
    return find_unknown(list_files(folder), marks)


def _take_permissions(old: Path, new: Path) -> None:
    """Give a folder the mode and the group of another one, if there is one.

    It happens before anything is in it: with the set-group-ID bit, folders below have the group.
    """
    with suppress(OSError):  # there is none, or the user is not of the group
        state = old.stat()
        with suppress(PermissionError):
            os.chown(new, -1, state.st_gid)
        new.chmod(stat.S_IMODE(state.st_mode) | stat.S_IRWXU)


def _put(new: Path, place: Path) -> None:
    """Put a folder in the place of another one, or of none; the old one is then at `new`.

    Readers of the folder above would find both, so one of them has hidden names, but for the moment
    of the exchange.
    """
    _show(new)
    if not place.exists():
        new.rename(place)
    elif not _exchange(new, place):
        _move(new, place)
    _hide(new)
    _sync(place, only_folders=True)
    _sync_path(place.parent)


def _move(new: Path, place: Path) -> None:
    """Put a folder in the place of another one in two steps; the old one is then at `new`."""
    old = new.with_name(f".{place.name}{_OLD}")
    with _locked(place):  # or another run would put it back
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
        old.rename(new)


def _show(folder: Path) -> None:
    for name in [*list_files(folder)]:
        if name.endswith(HIDDEN):
            (folder / name).rename(folder / name.removesuffix(HIDDEN))


def _hide(folder: Path) -> None:
    """Hide files that will be removed, which takes longer than renaming them."""
    with suppress(OSError):  # it is removed as it is
        for name in [*list_files(folder)]:
            if not name.endswith(HIDDEN):
                (folder / name).rename(folder / f"{name}{HIDDEN}")


def _remove(folder: Path) -> None:
    _hide(folder)
    shutil.rmtree(folder, ignore_errors=True)


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


def _remove_leftovers(parent: Path) -> None:
    """Remove the folders of processes that were killed, for whatever place beside this one.

    They are those that nobody has locked. An old data set whose place is free is put back there.
    """
    for left in parent.glob(f".*{_SUFFIX}"):
        with suppress(OSError), _locked(left, fcntl.LOCK_NB):  # an error: it is somebody else's
            home = left.with_name(left.name[1:].removesuffix(_OLD))
            if left.name.endswith(_OLD) and not os.path.lexists(home):
                left.rename(home)
            elif any(left.iterdir()):  # an empty one may be about to be locked
                _remove(left)


@contextmanager
def _locked(folder: Path, flags: int = 0) -> Iterator[None]:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | flags)
        yield
    finally:
        os.close(lock)


def _start(place: Path) -> str:
    """Return the start of a name, so that a temporary name made of it is not too long."""
    return os.fsdecode(os.fsencode(place.name)[:200])


def _sync(folder: Path, *, only_folders: bool = False) -> None:
    for place, _, names in os.walk(folder):
        for name in () if only_folders else names:
            _sync_path(Path(place, name))
        _sync_path(Path(place))


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
