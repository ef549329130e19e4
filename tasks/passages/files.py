"""The files that `dataset.predict_file` names: one, a list, those of a pattern or of a folder."""

from __future__ import annotations

import glob
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from tasks.addresses import ObjectPlace
from tasks.errors import InputError
from tasks.escaping import encodable
from tasks.findings import Finding
from tasks.passages.finding.file import (
    Given,
    InputFile,
    columns_of,
    entries_of,
    find_name_fault,
    show_path,
)
from tasks.passages.finding.objects import find_objects, split_pattern
from tasks.passages.finding.patterns import is_found, is_hidden, is_left_out, is_of_passages
from tasks.passages.layout import KEY, SUFFIXES
from tasks.passages.records import excerpt
from tasks.store.local import file_sha256


def find_files(given: Given) -> tuple[InputFile, ...] | Finding:
    """Return the files that the config names, or why there are none.

    The files of a folder or a pattern are sorted by their path, as text; those of a list are in its
    order. A folder has those with a known suffix, at any depth; a pattern any that it matches, and
    `**` any depth. Names that start with `.` or `_` are left out, links to what is found, too, and
    in a folder what `datasets` writes beside its files. Files in an object store are fetched.

    Raises:
        ObjectStoreError: an object store does not answer.
    """
    entries = entries_of(given)
    objects = [one for one in entries if isinstance(one, ObjectPlace)]
    paths = [Path(one) for one in entries if not isinstance(one, ObjectPlace)]
    if objects and paths:
        problem = f"{objects[0]} is in an object store, {show_path(paths[0])} is on this machine"
        return Finding(KEY, problem, "name files of one kind")
    is_list = isinstance(given, tuple)
    found = find_objects(objects, is_list=is_list) if objects else _find_here(paths, is_list)
    if isinstance(found, Finding):
        return found
    return next(filter(None, map(find_name_fault, found)), found)


def _find_here(entries: Sequence[Path], is_list: bool) -> tuple[InputFile, ...] | Finding:
    """Return the files of this machine that the config names, or why there are none."""
    try:
        return _find(entries, is_list)
    except OSError as error:
        problem = f"{encodable(str(error.filename))} cannot be read: {error.strerror}"
        return Finding(KEY, problem, "give a folder that this user can read")


def _find(entries: Sequence[Path], is_list: bool) -> tuple[InputFile, ...] | Finding:
    if not is_list and not _is_several(entries[0]):
        return (InputFile(entries[0]),)
    base, paths = Path(os.path.commonpath([_folder_of(one) for one in entries])), list[Path]()
    for entry in entries:
        found = _expand(entry)
        if isinstance(found, Finding):
            return found
        paths += found
    counts = Counter(map(os.path.realpath, paths))
    if repeated := [path for path, count in counts.items() if count > 1]:
        return Finding(
            KEY, f"{encodable(repeated[0])} is named more than once", "name each file once"
        )
    return tuple(
        InputFile(path, _name(path, base), columns_of(path.absolute().parent)) for path in paths
    )


def would_find(given: Given, place: PurePath) -> bool:
    """Return whether a folder or a pattern that the config names finds a file at `place`.

    There need not be one yet. A link below the folder is not followed. An address without a
    pattern may be that of a folder.
    """
    try:
        return any(_would_find(one, place) for one in entries_of(given))
    except OSError:  # nothing is found in a folder that cannot be read
        return False


def _would_find(entry: PurePath, place: PurePath) -> bool:
    if isinstance(entry, ObjectPlace) or isinstance(place, ObjectPlace):
        return isinstance(entry, ObjectPlace) and _would_find_object(entry, place)
    here, entry = Path(os.path.realpath(Path(place).parent), place.name), Path(entry)
    folder = _folder_of(entry)
    base = Path(os.path.realpath(folder))
    if not (_is_several(entry) and here.is_relative_to(base)):
        return False
    return is_found(here.relative_to(base).parts, entry.absolute().relative_to(folder).parts)


def _would_find_object(entry: ObjectPlace, place: PurePath) -> bool:
    base, pattern = split_pattern(entry)
    below = place.parts[len(base.parts) :]
    return place.is_relative_to(base) and bool(below) and is_found(below, pattern)


def hash_passages(given: Given) -> str | dict[str, str]:
    """Return the sha256 of what the config names, as of `hash_files`.

    Raises:
        InputError: a file cannot be read, or there is none.
    """
    files = find_files(given)
    if isinstance(files, Finding):
        raise InputError(str(files))
    return hash_files(files)


def hash_files(files: Sequence[InputFile]) -> str | dict[str, str]:
    """Return the sha256 of a file that is named by itself; of others, by their names.

    Raises:
        InputError: a file cannot be read.
    """
    if files[0].name is None:
        return _hash(files[0])
    return {str(file.name): _hash(file) for file in files}


def _hash(file: InputFile) -> str:
    try:
        return file_sha256(file.path)
    except OSError as error:
        raise InputError(
            f"{file.place} cannot be read: {error.strerror}; correct `dataset.predict_file`"
        ) from error


def _is_several(path: Path) -> bool:
    return path.is_dir() or _is_pattern(path)


def _is_pattern(path: Path) -> bool:
    """Return whether a path is a pattern; a file that has such a name is none."""
    return glob.has_magic(str(path)) and not os.path.lexists(path)


def _folder_of(entry: Path) -> Path:
    """Return the folder below which the files of an entry are."""
    entry = entry.absolute()
    if entry.is_dir():
        return entry
    fixed = [parent for parent in entry.parents if not _is_pattern(parent)]
    return fixed[0]


def _expand(entry: Path) -> list[Path] | Finding:
    """Return the files of one entry; of links to the same file, and the file, one.

    Raises:
        OSError: a folder cannot be read.
    """
    if entry.is_dir():
        found = _files_of(entry)
    elif _is_pattern(entry):
        found = _files_that_match(entry)
    else:
        return [entry]
    return found if isinstance(found, Finding) else _without_links_again(found)


def _files_that_match(pattern: Path) -> list[Path] | Finding:
    # `Path.glob` takes no absolute pattern
    matches = [Path(one) for one in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207
    matches = [one for one in matches if not is_left_out(one.parts, pattern.parts)]
    files = [one for one in matches if not one.is_dir()]
    fault = Finding(KEY, f"{show_path(pattern)}: no file matches this pattern", "correct it")
    if "**" not in pattern.parts:  # which matches the files of folders, too
        for folder in (one for one in matches if one.is_dir()):
            found = _files_of(folder)
            if isinstance(found, Finding):
                fault = found  # only if there is no other file, as in a folder of folders
            else:
                files += found
    return files or fault


def _without_links_again(paths: list[Path]) -> list[Path]:
    """Return sorted paths; of those that lead to the same file, the one with the fewest links."""
    same = defaultdict[str, list[Path]](list)
    for path in paths:
        same[os.path.realpath(path)].append(path)
    return sorted((min(ones, key=_rank) for ones in same.values()), key=str)


def _rank(path: Path) -> tuple[int, str]:
    return sum(one.is_symlink() for one in (path, *path.parents)), str(path)


def _files_of(folder: Path) -> list[Path] | Finding:
    found = sorted(_walk(folder), key=str)
    files = [path for path in found if is_of_passages(path.name)]
    if files:
        return files
    place, known = show_path(folder), f"a folder has {', '.join(SUFFIXES)}"
    if not found:
        return Finding(KEY, f"{place} is a folder without files", "name one with passages")
    problem = f"{place} is a folder without a file of passages, but with {excerpt(found[0].name)}"
    return Finding(KEY, problem, f"{known}; name others by a pattern, such as {place}/*")


def _walk(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder and is no folder; a folder that links lead to, too, once."""

    def fail(error: OSError) -> None:
        raise error

    seen, waiting = set[str](), [folder]
    for start in waiting:  # which grows: what links lead to comes last
        for place, folders, names in os.walk(start, onerror=fail):
            here = os.path.realpath(place)
            folders[:] = [] if here in seen else sorted(x for x in folders if not is_hidden(x))
            waiting += [Path(place, one) for one in folders if Path(place, one).is_symlink()]
            yield from (Path(place, one) for one in names if not (here in seen or is_hidden(one)))
            seen.add(here)


def _name(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()
