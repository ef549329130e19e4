"""Files of passages in object stores; their copies are read.

The names are those that the same files have below a folder of this machine, so that the same rows
are identified alike wherever they are.
"""

from __future__ import annotations

import glob
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from tasks.addresses import ObjectPlace
from tasks.errors import InstallationError, ObjectStoreError, StorageError
from tasks.findings import Finding
from tasks.passages.finding.file import InputFile, columns_of
from tasks.passages.finding.patterns import is_found
from tasks.passages.layout import KEY, SUFFIXES
from tasks.store.objects.connection import open_storage
from tasks.store.objects.files import ObjectFile


def find_objects(
    entries: Sequence[ObjectPlace], *, is_list: bool
) -> tuple[InputFile, ...] | Finding:
    """Return the files that addresses, and patterns of them, name, or why there are none.

    Raises:
        ObjectStoreError: a server does not answer.
    """
    try:
        return _find(entries, is_list=is_list)
    except ObjectStoreError:
        raise
    except (StorageError, InstallationError) as error:
        return Finding(KEY, str(error))


def split_pattern(entry: ObjectPlace) -> tuple[ObjectPlace, tuple[str, ...]]:
    """Return the folder that all matches of a pattern are in, and the pattern below it.

    Of an address without a pattern, that is the address, and nothing.
    """
    names = entry.parts[2:]
    fixed = next((at for at, one in enumerate(names) if glob.has_magic(one)), len(names))
    return ObjectPlace(entry.bucket, *names[:fixed]), names[fixed:]


def _find(entries: Sequence[ObjectPlace], *, is_list: bool) -> tuple[InputFile, ...] | Finding:
    found, bases = list[ObjectFile](), list[ObjectPlace]()
    for entry in entries:
        one = _find_one(entry)
        if one is not None and not is_list:
            return (_read(one),)
        files = _expand(entry) if one is None else [one]
        if isinstance(files, Finding):
            return files
        found += files
        bases.append(split_pattern(entry)[0] if one is None else entry.parent)
    counts = Counter(one.place for one in found)
    if repeated := [place for place, count in counts.items() if count > 1]:
        return Finding(KEY, f"{repeated[0]} is named more than once", "name each file once")
    depth = len(_common(bases))
    return _read_all(found, ["/".join(one.place.parts[depth:]) for one in found])


def _find_one(entry: ObjectPlace) -> ObjectFile | None:
    """Return the object with an address, unless it stands for a folder, as some servers have it."""
    files = open_storage(entry).files
    found = files.find(entry) if entry.key else None
    return None if found is None or (not found.size and files.below(entry)) else found


def _expand(entry: ObjectPlace) -> list[ObjectFile] | Finding:
    """Return the files of a folder or a pattern, sorted by their addresses."""
    base, pattern = split_pattern(entry)
    below = open_storage(entry).files.below(base)
    depth = len(base.parts)
    files = [one for one in below if is_found(one.place.parts[depth:], pattern)]
    if files:
        return files
    if pattern:
        return Finding(KEY, f"{entry}: no file matches this pattern", "correct it")
    if not below:
        return Finding(KEY, f"{entry}: no such file or folder", "name a file of passages")
    problem = f"{entry} is a folder without a file of passages, but with {below[0].place.name}"
    remedy = f"a folder has {', '.join(SUFFIXES)}; name others by a pattern, such as {entry}/*"
    return Finding(KEY, problem, remedy)


def _common(folders: Sequence[ObjectPlace]) -> tuple[str, ...]:
    """Return the parts that the addresses of all folders begin with."""
    columns = zip(*(one.parts for one in folders), strict=False)
    return tuple(parts[0] for parts in takewhile(lambda parts: len({*parts}) == 1, columns))


def _read_all(found: Sequence[ObjectFile], names: Sequence[str]) -> tuple[InputFile, ...]:
    """Return files of passages by these names, with copies of the objects."""
    of_bucket = defaultdict[str, list[ObjectFile]](list)
    for one in found:
        of_bucket[one.place.bucket].append(one)
    paths = {
        one.place: path
        for some in of_bucket.values()
        for one, path in zip(some, open_storage(some[0].place).files.fetch(some), strict=True)
    }
    return tuple(
        InputFile(paths[one.place], name, columns_of(one.place.parent), one.place)
        for one, name in zip(found, names, strict=True)
    )


def _read(found: ObjectFile) -> InputFile:
    return replace(*_read_all([found], [""]), name=None, columns={})
