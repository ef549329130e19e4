"""Reading a config: the YAML file, then overrides; all faults are reported at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tasks.config.describe import allowed, known_keys, suggest
from tasks.config.files import (
    Origins,
    find_origin,
    override,
    read_config,
    unreadable,
)
from tasks.config.overrides import EXTENDS, OF_A_FILE, Overrides, parse_overrides
from tasks.config.settings import Settings
from tasks.errors import ConfigError
from tasks.findings import Finding

CONFIG_SUFFIXES = {".yaml", ".yml"}
CONFIGS = "configs"
VARIABLE = "WENTI_CONFIGS"  # in the environment: another folder with configs
CLONE = Path(__file__).parents[2]


def load_settings(path: Path, overrides: Sequence[str] | Overrides = ()) -> Settings:
    """Return the settings of the YAML file at `path` with `overrides` applied.

    Args:
        path: the config file.
        overrides: `section.key=value` strings, or values by section and key.

    Raises:
        ConfigError: the file cannot be read as YAML, or keys or values are invalid; it lists all
            faults of the file and of the overrides.
    """
    (raw, origins), faults = read_config(path), list[Finding]()
    if not isinstance(overrides, Mapping):
        overrides, faults = parse_overrides(overrides)
    override(raw, origins, overrides)
    return make_settings(raw, str(path), faults, origins)


def make_settings(
    raw: Mapping[str, Any],
    source: str,
    known_faults: Sequence[Finding] = (),
    origins: Origins | None = None,
) -> Settings:
    """Return the settings of a parsed config.

    Args:
        raw: the sections.
        source: what they are from, for messages.
        known_faults: of the source.
        origins: which files the keys are from.

    Raises:
        ConfigError: keys or values are invalid, or there are known faults; it lists all.
    """
    faults = list(known_faults)
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults += [_place(_explain(details), origins or {}, details["loc"]) for details in found]
    if faults:
        raise ConfigError(source, faults)
    return settings


def find_config(name: str) -> Path:
    """Return the path of a config given by name or by path.

    Names are those of the YAML files in `config_folders()`.

    Raises:
        ConfigError: there is no config of that name. (A missing path is left to `load_settings`.)
    """
    known = list_configs()
    if name in known:
        return known[name]
    if not is_config(name):
        problem = f"there is no such config in {show_config_folders()}"
        raise unreadable(Path(name), problem, suggest_config(name))
    return Path(name)


def suggest_config(name: str) -> str:
    """Return the name of a config that is similar to `name`, or all names."""
    known = list_configs()
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]}?"
    listed = f"known: {', '.join(known)}" if known else "there are none"
    return f"{listed}; `wenti init` writes one, {VARIABLE} names another folder"


def is_config(name: str) -> bool:
    """Return whether a name is a known config, an existing file, or ends in .yaml or .yml."""
    path = Path(name)
    return path.suffix in CONFIG_SUFFIXES or _is_no_folder(path) or name in list_configs()


def _is_no_folder(path: Path) -> bool:
    """Return whether there is something that is not a folder, such as a file or a pipe."""
    try:
        return path.exists() and not path.is_dir()
    except OSError:  # the name is too long, or permission is denied
        return False


def list_configs() -> dict[str, Path]:
    """Return the paths of the configs that are known by name, by name, in their order.

    Of two with one name, it is that in the first of `config_folders()`.
    """
    found: dict[str, Path] = {}
    for folder in reversed(config_folders()):
        paths = (path for path in folder.glob("*") if path.suffix in CONFIG_SUFFIXES)
        found |= {path.stem: path for path in sorted(paths)}
    return dict(sorted(found.items()))


def config_folders() -> list[Path]:
    """Return the folders whose configs are known by name, the first one first.

    That is `configs` in the working folder, the folder that the environment variable WENTI_CONFIGS
    names, and, if Wenti is installed from a clone (editable), the configs shipped in that.
    """
    named = os.environ.get(VARIABLE)
    is_clone = (CLONE / "pyproject.toml").is_file()
    folders = [Path(CONFIGS), Path(named) if named else None, CLONE / CONFIGS if is_clone else None]
    return [folder for folder in folders if folder is not None]


def show_config_folders() -> str:
    """Return the folders whose configs are known by name, for messages."""
    return ", ".join(dict.fromkeys(str(folder.absolute()) for folder in config_folders()))


def _place(fault: Finding, origins: Origins, path: Sequence[int | str]) -> Finding:
    """Return a fault that names the file it is in, if that is another than the config."""
    origin = find_origin(origins, [str(part) for part in path])
    return replace(fault, problem=f"{fault.problem} (in {origin})") if origin else fault


def _explain(details: ErrorDetails) -> Finding:
    """Return one of pydantic's errors as a fault: the key's path, the value, what is allowed."""
    names = [str(part) for part in details["loc"]]
    where = ".".join(names)
    if names == [EXTENDS]:  # in a file, it is not there any more
        return Finding(where, "--set cannot change it", OF_A_FILE)
    if details["type"] == "extra_forbidden":
        known = [*known_keys(names[:-1]), *([EXTENDS] if len(names) == 1 else [])]
        return Finding(where, "no such key", suggest(names[-1], known))
    if details["type"] in {"model_type", "model_attributes_type"}:
        return Finding(
            where, f"{show_value(details['input'])} is not a section", "put keys below it"
        )
    if details["type"] == "value_error":
        reason = str(details["ctx"]["error"])
        return Finding(where, f"{show_value(details['input'])} does not fit", reason)
    return Finding(
        where, f"{show_value(details['input'])} is not allowed", f"allowed: {allowed(names)}"
    )


_SECRET = re.compile(r"(?<=:)//[^/\s]*@|(?<=:)//.*\?.*")
"""What may be a credential in a URL."""


def show_value(value: object) -> str:
    """Return a value of a YAML file as it is shown in a fault, with its type."""
    text = "null" if value is None else _SECRET.sub("//…", repr(value))
    shortened = text if len(text) <= 60 else f"{text[:57]}…"
    return f"{shortened} ({type(value).__name__})" if value is not None else shortened
