"""Errors of the operating system as messages: which path, what is wrong, and what to do."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import NamedTuple

from tasks.errors import DiskError, MachineMemoryError, StorageError, UnusableError

_ELSEWHERE = "choose another place"


class _Cause(NamedTuple):
    problem: str
    remedies: tuple[str, ...]


_CAUSES = {
    errno.ENOSPC: _Cause("the disk is full", ("free some space", _ELSEWHERE)),
    errno.EDQUOT: _Cause("the disk quota is used up", ("free some space", _ELSEWHERE)),
    errno.EROFS: _Cause("the file system is read-only", (_ELSEWHERE,)),
    errno.EACCES: _Cause("permission denied", ("change its permissions", _ELSEWHERE)),
    errno.EPERM: _Cause("permission denied", ("change its permissions", _ELSEWHERE)),
    errno.EIO: _Cause("the disk failed", ("try again, check it", _ELSEWHERE)),
    errno.ENOLCK: _Cause("this file system has no locks", (_ELSEWHERE,)),
    errno.EEXIST: _Cause("there is a file or a broken link in its place", ("move it away",)),
    errno.ELOOP: _Cause("its symbolic links form a loop", ("correct them", _ELSEWHERE)),
    errno.ENAMETOOLONG: _Cause("the name is too long", (_ELSEWHERE,)),
    errno.EXDEV: _Cause("it cannot be moved, as a part of an image or a mount", (_ELSEWHERE,)),
    errno.ENOTDIR: _Cause("a part of this path is a file, not a folder", (_ELSEWHERE,)),
}
_PASSING_CAUSES = {
    errno.EBUSY: _Cause("it is in use, or a mount point", ("stop what uses it", _ELSEWHERE)),
    errno.EISDIR: _Cause("there is a folder in its place", ("move it away",)),
    errno.ENOTEMPTY: _Cause("there is a folder in its place", ("move it away",)),
    errno.EMFILE: _Cause("too many files are open", ("raise the limit with ulimit -n",)),
    errno.ENFILE: _Cause("too many files are open on this machine", ("close some programs",)),
}
"""Those after which another attempt may succeed, so that `storage_faults` lets them pass."""

_OF_DISKS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
SHORTAGES = {errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""Of a process or a machine; they say nothing about the file that could not be read."""


@contextmanager
def storage_faults(place: PurePath, setting: str = "store.path") -> Iterator[None]:
    """Turn an `OSError` for a full disk, missing permission and the like into a `StorageError`.

    Args:
        place: what is written in the block; an error that names a path elsewhere is told as such.
        setting: config key that moves `place` elsewhere, for the message.

    Raises:
        DiskError: the disk failed (EIO).
        StorageError: for the other error numbers in `_CAUSES`; all other errors pass through.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _CAUSES:
            raise
        path = Path(error.filename) if isinstance(error.filename, str) else None
        if path is None or _is_near(path, place):
            raise _as_storage_error(error, f"cannot write {place}", f"with `{setting}`") from error
        raise _as_storage_error(
            error, f"cannot use {path}", _name_variable(path, error.errno)
        ) from error


@contextmanager
def machine_faults() -> Iterator[None]:
    """Turn whatever else the machine refuses in the block into errors with a message.

    Raises:
        MachineMemoryError: there is too little memory.
        StorageError: a file cannot be read or written.
    """
    try:
        yield
    except (MemoryError, OSError) as error:
        told = explain(error)
        if told is None:
            raise
        raise told from error


def explain(error: MemoryError | OSError) -> UnusableError | None:
    """Return the message of an error of the machine; None if it does not say enough."""
    if isinstance(error, MemoryError) or error.errno == errno.ENOMEM:
        return MachineMemoryError(
            f"this machine has too little memory ({error}); nothing is damaged: stop other "
            "programs, or lower shards.rows_per_shard"
        )
    name = error.filename2 or error.filename  # the second is where a file was to be moved to
    path = name if isinstance(name, str) else None
    if error.errno in _CAUSES or error.errno in _PASSING_CAUSES:
        what = "a file cannot be used" if path is None else f"cannot use {path}"
        return _as_storage_error(
            error, what, "" if path is None else _name_variable(Path(path), error.errno)
        )
    return None if path is None else StorageError(f"cannot use {path}: {error.strerror}")


def _as_storage_error(error: OSError, what: str, how: str) -> StorageError:
    """Return the error for a known number; `how` names what moves the place elsewhere."""
    problem, remedy = find_cause(error, how)
    kind = DiskError if error.errno == errno.EIO else StorageError
    return kind(f"{what}: {problem}; {remedy}")


def find_cause(error: OSError, how: str = "") -> tuple[str, str]:
    """Return what is wrong with a place that cannot be used, and what to do about it.

    `how` names what moves the place elsewhere.
    """
    known = (_CAUSES | _PASSING_CAUSES).get(error.errno or 0)
    cause = known or _Cause(error.strerror or str(error), (_ELSEWHERE,))
    told = (f"{one} {how}".strip() if one is _ELSEWHERE else one for one in cause.remedies)
    return cause.problem, " or ".join(told)


def _is_near(path: Path, place: PurePath) -> bool:
    """Return whether a path is in the folder of `place`, or a folder that contains that."""
    one, other = (Path(os.path.normpath(Path(part).absolute())) for part in (path, place))
    return one.is_relative_to(other.parent) or other.is_relative_to(one)


def _name_variable(path: Path, number: int | None) -> str:
    """Return which environment variable moves a path elsewhere; empty if none is known."""
    if number not in _OF_DISKS:
        return ""
    with suppress(RuntimeError, ValueError, IndexError):  # without a home, or not below it
        if path.relative_to(Path.home()).parts[0].startswith("."):  # such as ~/.cache
            return "by setting HOME"
    with suppress(FileNotFoundError):  # without a temporary folder
        if path.is_relative_to(tempfile.gettempdir()):
            return "by setting TMPDIR"
    return ""
