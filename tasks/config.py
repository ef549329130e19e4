"""Reading a config: YAML file, then `section.key=value` overrides, then every fault at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tasks.errors import ConfigError, Fault
from tasks.settings import Settings


def load_settings(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Give the settings of the YAML file at `path` with `overrides` (`section.key=value`) applied.

    Raises:
        ConfigError: the file cannot be read as YAML, or has faults; all of them are listed.
    """
    raw = _read_yaml(path)
    faults = [fault for text in overrides if (fault := _apply_override(raw, text))]
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        faults += [_explain(details) for details in error.errors(include_url=False)]
    if faults:
        raise ConfigError(str(path), faults)
    return settings


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        remedy = "check the path; `configs/` holds examples"
        raise _unreadable(path, "there is no such file", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error), "it must be a UTF-8 text file") from error
    except yaml.YAMLError as error:
        raise _unreadable(path, f"not YAML: {_one_line(error)}", "correct the line") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        remedy = "sections such as `predict:` with keys below them are expected"
        raise _unreadable(path, f"a {type(raw).__name__} instead of sections", remedy)
    return raw


def _unreadable(path: Path, problem: str, remedy: str) -> ConfigError:
    return ConfigError(str(path), [Fault("the file", problem, remedy)])


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())


def _apply_override(raw: dict[str, Any], text: str) -> Fault | None:
    """Put one `section.key=value` into `raw`; a fault when it has another form."""
    key_path, separator, value_text = text.partition("=")
    section, dot, key = key_path.strip().partition(".")
    if not (separator and dot and section and key):
        return Fault(f"--set {text}", "not of the form section.key=value", "such as decode.topk=4")
    try:
        value = yaml.safe_load(value_text)
    except yaml.YAMLError as error:
        return Fault(f"--set {text}", f"the value is not YAML: {_one_line(error)}", "quote it")
    target = raw.setdefault(section, {})
    if target is None:
        target = raw[section] = {}
    if isinstance(target, dict):
        target[key] = value
    return None


def _explain(details: ErrorDetails) -> Fault:
    """Turn one of pydantic's errors into a fault with the key's path and what is allowed."""
    names = [str(part) for part in details["loc"]]
    where = ".".join(names)
    if details["type"] == "extra_forbidden":
        return Fault(where, "no such key", _suggest(names))
    if details["type"] in {"model_type", "model_attributes_type"}:
        return Fault(where, f"{_show(details['input'])} is not a section", "keys go below it")
    if details["type"] == "value_error":
        reason = str(details["ctx"]["error"])
        return Fault(where, f"{_show(details['input'])} does not fit", reason)
    return Fault(where, f"{_show(details['input'])} is not allowed", f"allowed: {allowed(names)}")


def _show(value: object) -> str:
    text = "null" if value is None else repr(value)
    shortened = text if len(text) <= 60 else f"{text[:57]}…"
    return f"{shortened} ({type(value).__name__})" if value is not None else shortened


def _suggest(names: Sequence[str]) -> str:
    known = _known_keys(names[:-1])
    close = difflib.get_close_matches(names[-1], known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def _known_keys(parents: Sequence[str]) -> list[str]:
    return list(_schema_of(parents).get("properties", {}))


def allowed(names: Sequence[str]) -> str:
    """Say in words what the key at this path may be, as its JSON schema has it."""
    return _describe(_schema_of(names))


def _schema_of(names: Iterable[str]) -> Mapping[str, Any]:
    schema = root = Settings.model_json_schema()
    for name in names:
        inner = schema.get("properties", {}).get(name)
        if inner is None:  # an item of a list: the list's own description serves best
            break
        reference = inner.get("$ref")
        schema = root["$defs"][reference.rpartition("/")[2]] if reference else inner
    return schema


def _describe(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_describe(option) for option in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"a list of {_describe(schema['items'])}"
    if "pattern" in schema:
        return "device names such as cpu, gpu:0, gpu:1"
    return _PLAIN.get(schema.get("type", ""), "another value") + _limits(schema)


_PLAIN = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text, not empty",
    "null": "null",
}
_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def _limits(schema: Mapping[str, Any]) -> str:
    parts = [f"{words} {schema[name]}" for name, words in _LIMITS.items() if name in schema]
    return f" ({', '.join(parts)})" if parts else ""
