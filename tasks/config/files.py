"""Reading the YAML file of a config, and the files that it extends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.config.overrides import EXTENDS, Overrides, apply_overrides, merge, parse_yaml
from tasks.config.sections.section import expand_path
from tasks.errors import ConfigError
from tasks.findings import Finding

EXAMPLES = "`wenti init` writes an example"

Origins = dict[tuple[str, ...], str]
"""The file that a key or section is from, by its path; "" for the config itself and overrides."""


def read_config(path: Path) -> tuple[dict[str, Any], Origins]:
    """Return the sections of a config file merged with those of the files that it extends.

    A value of the file replaces that of the file that it extends, key by key. `extends` is a path
    from the folder of the file that has it.

    Raises:
        ConfigError: one of the files cannot be read, or they extend each other in a circle.
    """
    values: dict[str, Any] = {}
    origins: Origins = {}
    for file, raw in reversed(list(_read_chain(path))):
        for section in [name for name in raw if not isinstance(values.get(name), dict | None)]:
            del raw[section]  # so that what is no section in the other file is left as a fault
        merge(values, raw)
        name = "" if file == path else str(file)
        origins |= dict.fromkeys(_paths(raw), name)
    return values, origins


def list_files(path: Path) -> list[Path]:
    """Return a config file, the file that it extends, and so on.

    Raises:
        ConfigError: as `read_config`.
    """
    return [file for file, _raw in _read_chain(path)]


def override(values: dict[str, Any], origins: Origins, overrides: Overrides) -> None:
    """Put overrides into what `read_config` returned, in place."""
    apply_overrides(values, overrides)
    origins |= dict.fromkeys((one for one in _paths(overrides) if len(one) > 1), "")


def find_origin(origins: Origins, names: Sequence[str]) -> str:
    """Return the file that the key at this path is from; "" for the config itself."""
    lengths = range(len(names), 0, -1)
    paths = (tuple(names[:length]) for length in lengths)
    return next((origins[path] for path in paths if path in origins), "")


def _read_chain(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield a config file, the file that it extends, and so on, each without `extends`."""
    hint, seen, extended = EXAMPLES, list[str](), path
    while True:
        seen.append(os.path.realpath(extended))
        raw = read_yaml(extended, hint)
        base = raw.pop(EXTENDS, None)
        yield extended, raw
        if base is None:
            return
        hint, extended = f"{extended} extends it", extended.parent / _check_base(extended, base)
        if (again := os.path.realpath(extended)) in seen:
            circle = " extends ".join((*seen[seen.index(again) :], again))
            raise ConfigError(str(path), [Finding(EXTENDS, circle, "leave it out in one of them")])


def _check_base(path: Path, base: object) -> str:
    try:
        if isinstance(base, str) and base:
            return expand_path(base)
        reason = f"{base!r} is not a path; write that of a YAML file, from the folder of this file"
    except ValueError as error:
        reason = f"{base!r}: {error}"
    raise ConfigError(str(path), [Finding(EXTENDS, reason)])


def _paths(values: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key in nested mappings, parents first."""
    for name, value in values.items():
        yield (str(name),)
        if isinstance(value, Mapping):
            yield from ((str(name), *path) for path in _paths(value))


def read_yaml(path: Path, examples: str) -> dict[str, Any]:
    """Return the mapping in a YAML file; an empty file has an empty one.

    Args:
        path: the file.
        examples: which file is an example of such a file.

    Raises:
        ConfigError: the file cannot be read, or has no mapping.
    """
    text = _read_text(path, examples)
    try:
        raw = parse_yaml(text)
    except ValueError as error:
        raise unreadable(path, f"not YAML: {error}", "correct the line") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        remedy = f"keys with values are expected, such as `key: value`; {examples}"
        raise unreadable(path, f"a {type(raw).__name__} instead of keys", remedy)
    return raw


def _read_text(path: Path, examples: str) -> str:
    try:
        if not path.is_file() and path.exists():  # reading a pipe may wait for ever
            raise unreadable(path, "it is not a regular file", "name a YAML file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = f"check the path; {examples}"
        raise unreadable(path, "there is no such file", remedy) from None
    except OSError as error:
        remedy = "name a file that this user can read"
        raise unreadable(path, error.strerror or str(error), remedy) from error
    except UnicodeDecodeError as error:
        raise unreadable(path, str(error), "it must be a UTF-8 text file") from error


def unreadable(path: Path, problem: str, remedy: str) -> ConfigError:
    """Return the error for a file that cannot be read, or is not a config."""
    return ConfigError(str(path), [Finding("the file", problem, remedy)])
