"""The mark of a finished data set, which lists its files, so that others are left alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

MARKS = ("_SUCCESS", "_PARTIAL")
MAKER = "wenti"
HIDDEN = ".wenti-hidden"
"""The end of the names of files that readers of data sets must not find yet, or any more."""

PROBE = "_wenti-probe-"
"""The beginning of the name of an object by which it is tried whether a bucket can be written."""

# What readers leave behind: Hadoop's checksums, the Finder's notes, files that NFS keeps open.
_DROPPINGS = (".*.crc", ".DS_Store", ".nfs*", f"{PROBE}*")


def write_mark(folder: Path, is_partial: bool, content: Mapping[str, Any]) -> None:
    """Write the mark of a finished folder, which lists the files that will be in it.

    Raises:
        OSError: it cannot be written.
    """
    files = (name.removesuffix(HIDDEN) for name in list_files(folder))
    (folder / MARKS[is_partial]).write_bytes(as_mark(files, content))


def as_mark(files: Iterable[str], content: Mapping[str, Any]) -> bytes:
    """Return a mark that lists these files."""
    mark = {"made_by": MAKER, **content, "files": sorted(files)}
    return f"{json.dumps(mark, ensure_ascii=False, indent=2)}\n".encode()


def find_known(marks: Mapping[str, bytes]) -> set[str]:
    """Return the files that marks list, and the marks themselves, by their names.

    Those of other programs list nothing.
    """
    known = set[str]()
    for name, data in marks.items():
        with suppress(ValueError, KeyError, TypeError):
            mark = json.loads(data)
            if mark["made_by"] == MAKER:
                known |= {name, *map(str, mark["files"])}
    return known


def find_unknown(names: Iterable[str], marks: Mapping[str, bytes]) -> str | None:
    """Return the first of the names that no mark lists; None if there is none.

    Hidden files count, except those that readers and file systems leave behind.
    """
    found = {name for name in names if not _is_dropping(name)}
    return min(found - find_known(marks), default=None)


def _is_dropping(name: str) -> bool:
    return any(fnmatchcase(PurePosixPath(name).name, pattern) for pattern in _DROPPINGS)


def list_files(folder: Path) -> Iterator[str]:
    """Yield the paths of all that is in a folder, and is no folder, relative to it."""
    if not folder.exists():
        return

    def fail(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=fail):
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (Path(place, name).relative_to(folder).as_posix() for name in names + links)
