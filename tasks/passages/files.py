"""The files that `dataset.predict_file` names: one, a list, those of a pattern or of a folder."""

from __future__ import annotations

import glob
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote

from tasks.errors import InputError
from tasks.escaping import encodable, shorten_list
from tasks.findings import Finding
from tasks.passages.layout import KEY, SUFFIXES, kind_of
from tasks.passages.records import excerpt
from tasks.store.local import file_sha256
from tasks.store.tables import HIVE_NULL

Given = Path | tuple[Path, ...]
"""What the config names: a path or a pattern, or several of them."""

# As of Spark: _SUCCESS, _temporary, .part-0.crc; and of Excel, while a workbook is open: ~$a.xlsx
_HIDDEN = (".", "_", "~$")
# What `datasets` (Hugging Face) writes beside its files.
_BESIDE = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}


@dataclass(frozen=True)
class InputFile:
    """A file of passages.

    Attributes:
        path: where it is.
        name: its path relative to the folder of all files, with slashes; None for a file that is
            named by itself.
        columns: the columns that its folders have in their names, such as `dt=2026-11-28`.
    """

    path: Path
    name: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)


def find_files(given: Given) -> tuple[InputFile, ...] | Finding:
    """Return the files that the config names, or why there are none.

    The files of a folder or a pattern are sorted by their path, as text; those of a list are in its
    order. A folder has those with a known suffix, at any depth; a pattern any that it matches, and
    `**` any depth. Names that start with `.` or `_` are left out, links to what is found, too, and
    in a folder what `datasets` writes beside its files.
    """
    try:
        return _find(given)
    except OSError as error:
        problem = f"{encodable(str(error.filename))} cannot be read: {error.strerror}"
        return Finding(KEY, problem, "give a folder that this user can read")


def _find(given: Given) -> tuple[InputFile, ...] | Finding:
    if isinstance(given, Path) and not _is_several(given):
        return (InputFile(given),)
    base, paths = (
        Path(os.path.commonpath([_folder_of(one) for one in entries_of(given)])),
        list[Path](),
    )
    for entry in entries_of(given):
        found = _expand(entry)
        if isinstance(found, Finding):
            return found
        paths += found
    counts = Counter(map(os.path.realpath, paths))
    if repeated := [path for path, count in counts.items() if count > 1]:
        return Finding(
            KEY, f"{encodable(repeated[0])} is named more than once", "name each file once"
        )
    files = tuple(InputFile(path, _name(path, base), _columns(path)) for path in paths)
    return next(filter(None, map(_find_name_fault, files)), files)


def _find_name_fault(file: InputFile) -> Finding | None:
    """Return the fault of a name that is no text: it could not be written into a table."""
    texts = (file.name or "", *file.columns, *(value or "" for value in file.columns.values()))
    if all(text == encodable(text) for text in texts):
        return None
    return Finding(KEY, f"{show_path(file.path)}: its name is not UTF-8", "rename it")


def entries_of(given: Given) -> tuple[Path, ...]:
    """Return the paths and patterns that the config names."""
    return (given,) if isinstance(given, Path) else given


def would_find(given: Given, path: Path) -> bool:
    """Return whether a folder or a pattern that the config names finds a file at `path`.

    There need not be one yet. A link below the folder is not followed.
    """
    place = Path(os.path.realpath(path.parent), path.name)
    try:
        return any(_would_find(one, place) for one in entries_of(given))
    except OSError:  # nothing is found in a folder that cannot be read
        return False


def _would_find(entry: Path, place: Path) -> bool:
    folder = _folder_of(entry)
    base = Path(os.path.realpath(folder))
    if not (_is_several(entry) and place.is_relative_to(base)):
        return False
    below, pattern = place.relative_to(base).parts, entry.absolute().relative_to(folder).parts
    if not pattern:
        return _is_in_folder(below)
    if _matches(below, pattern):
        return not _is_left_out(below, pattern)
    return "**" not in pattern and any(
        _matches(below[:depth], pattern)
        and not _is_left_out(below[:depth], pattern)
        and _is_in_folder(below[depth:])
        for depth in range(1, len(below))
    )


def _is_in_folder(below: tuple[str, ...]) -> bool:
    """Return whether a folder has the file at a path below it, as of `find_files`."""
    name = below[-1]
    return bool(kind_of(Path(name))) and name not in _BESIDE and not any(map(_is_hidden, below))


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Return whether the parts of a path match those of a pattern, as of `glob`."""
    if not (parts and pattern):
        return not parts and all(one == "**" for one in pattern)
    part, one = parts[0], pattern[0]
    if part.startswith(".") and not one.startswith("."):
        return one == "**" and _matches(parts, pattern[1:])
    if one == "**":
        return _matches(parts[1:], pattern) or _matches(parts, pattern[1:])
    return fnmatchcase(part, one) and _matches(parts[1:], pattern[1:])


def show_given(given: Given) -> str:
    """Return what the config names for messages: absolute, and a long list shortened."""
    return shorten_list([*map(show_path, entries_of(given))])


def show_path(path: Path) -> str:
    """Return a path for messages: absolute, and without `..`; its last part is as given.

    Bytes of it that are not UTF-8 are shown as escapes.
    """
    if path.name in {"", ".."}:
        return encodable(os.path.realpath(path))
    return encodable(str(Path(os.path.realpath(path.parent), path.name)))


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
        return _hash(files[0].path)
    return {str(file.name): _hash(file.path) for file in files}


def _hash(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; correct `dataset.predict_file`"
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
    matches = [one for one in matches if not _is_left_out(one.parts, pattern.parts)]
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
    files = [path for path in found if kind_of(path) and path.name not in _BESIDE]
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
            folders[:] = [] if here in seen else sorted(x for x in folders if not _is_hidden(x))
            waiting += [Path(place, one) for one in folders if Path(place, one).is_symlink()]
            yield from (Path(place, one) for one in names if not (here in seen or _is_hidden(one)))
            seen.add(here)


def _is_left_out(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Return whether a part of a path that matches a pattern is hidden, but not in the pattern."""
    named = list(filter(_is_hidden, pattern))
    hidden = filter(_is_hidden, parts)
    return not all(any(fnmatchcase(part, one) for one in named) for part in hidden)


def _is_hidden(name: str) -> bool:
    return name.startswith(_HIDDEN) and "=" not in name  # `_dt=1` is a partition


def _name(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()


def _columns(path: Path) -> dict[str, str | None]:
    """Return the columns of a path's folders, as Hive and Spark write them."""
    pairs = (part.split("=", 1) for part in path.absolute().parent.parts if part.find("=") > 0)
    return {unquote(name): None if value == HIVE_NULL else unquote(value) for name, value in pairs}
