"""Reading a config: the YAML file, then overrides; all faults are reported at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tasks.config.describe import allowed, known_keys, suggest
from tasks.config.overrides import Overrides, apply_overrides, parse_overrides, parse_yaml
from tasks.config.settings import Settings
from tasks.errors import ConfigError
from tasks.findings import Finding

CONFIG_SUFFIXES = {".yaml", ".yml"}
CONFIGS = "configs"
VARIABLE = "WENTI_CONFIGS"  # in the environment: another folder with configs
CLONE = Path(__file__).parents[2]
EXAMPLES = "`configs/` holds examples"


def load_settings(path: Path, overrides: Sequence[str] | Overrides = ()) -> Settings:
    """Return the settings of the YAML file at `path` with `overrides` applied.

    Args:
        path: the config file.
        overrides: `section.key=value` strings, or values by section and key.

    Raises:
        ConfigError: the file cannot be read as YAML, or keys or values are invalid; it lists all
            faults of the file and of the overrides.
    """
    raw, faults = read_yaml(path, EXAMPLES), list[Finding]()
    if not isinstance(overrides, Mapping):
        overrides, faults = parse_overrides(overrides)
    apply_overrides(raw, overrides)
    return make_settings(raw, str(path), faults)


def make_settings(
    raw: Mapping[str, Any], source: str, known_faults: Sequence[Finding] = ()
) -> Settings:
    """Return the settings of a parsed config.

    Args:
        raw: the sections.
        source: what they are from, for messages.
        known_faults: of the source.

    Raises:
        ConfigError: keys or values are invalid, or there are known faults; it lists all.
    """
    faults = list(known_faults)
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        faults += [_explain(details) for details in error.errors(include_url=False)]
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
        raise _unreadable(Path(name), problem, suggest_config(name))
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
        raise _unreadable(path, f"not YAML: {error}", "correct the line") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        remedy = f"keys with values are expected, such as `key: value`; {examples}"
        raise _unreadable(path, f"a {type(raw).__name__} instead of keys", remedy)
    return raw


def _read_text(path: Path, examples: str) -> str:
    try:
        if not path.is_file() and path.exists():  # reading a pipe may wait for ever
            raise _unreadable(path, "it is not a regular file", "name a YAML file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = f"check the path; {examples}"
        raise _unreadable(path, "there is no such file", remedy) from None
    except OSError as error:
        remedy = "name a file that this user can read"
        raise _unreadable(path, error.strerror or str(error), remedy) from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, str(error), "it must be a UTF-8 text file") from error


def _unreadable(path: Path, problem: str, remedy: str) -> ConfigError:
    return ConfigError(str(path), [Finding("the file", problem, remedy)])


def _explain(details: ErrorDetails) -> Finding:
    """Return one of pydantic's errors as a fault: the key's path, the value, what is allowed."""
    names = [str(part) for part in details["loc"]]
    where = ".".join(names)
    if details["type"] == "extra_forbidden":
        return Finding(where, "no such key", suggest(names[-1], known_keys(names[:-1])))
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


def show_value(value: object) -> str:
    """Return a value of a YAML file as it is shown in a fault, with its type."""
    text = "null" if value is None else repr(value)
    shortened = text if len(text) <= 60 else f"{text[:57]}…"
    return f"{shortened} ({type(value).__name__})" if value is not None else shortened
