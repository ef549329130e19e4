"""Which names a folder or a pattern finds, wherever the files are."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePath

from tasks.passages.layout import kind_of

# As of Spark: _SUCCESS, _temporary, .part-0.crc; and of Excel, while a workbook is open: ~$a.xlsx
_HIDDEN = (".", "_", "~$")
# What `datasets` (Hugging Face) writes beside its files.
_BESIDE = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}


def is_found(below: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Return whether a file is found by a pattern, or in a folder that the pattern matches.

    Args:
        below: the parts of its path, from the folder that all matches are in.
        pattern: the parts of the pattern from there; none: it is that folder that is named.
    """
    if not pattern:
        return is_in_folder(below)
    if _matches(below, pattern):
        return not is_left_out(below, pattern)
    return "**" not in pattern and any(
        _matches(below[:depth], pattern)
        and not is_left_out(below[:depth], pattern)
        and is_in_folder(below[depth:])
        for depth in range(1, len(below))
    )


def is_in_folder(below: tuple[str, ...]) -> bool:
    """Return whether a folder has the file at a path below it, as of `find_files`."""
    return is_of_passages(below[-1]) and not any(map(is_hidden, below))


def is_of_passages(name: str) -> bool:
    """Return whether a file of this name in a folder is one of passages."""
    return bool(kind_of(PurePath(name))) and name not in _BESIDE


def is_left_out(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Return whether a part of a path that matches a pattern is hidden, but not in the pattern."""
    named = list(filter(is_hidden, pattern))
    hidden = filter(is_hidden, parts)
    return not all(any(fnmatchcase(part, one) for one in named) for part in hidden)


def is_hidden(name: str) -> bool:
    """Return whether files with this name, or in a folder with it, are left out."""
    return name.startswith(_HIDDEN) and "=" not in name  # `_dt=1` is a partition


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
