"""Allowed values of a config key in words, from the JSON schema of the settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.config.settings import Settings


def known_keys(parents: Sequence[str]) -> list[str]:
    """Return the keys of the section at this path; the sections for an empty path."""
    return list(_schema_of(parents).get("properties", {}))


def allowed(names: Sequence[str]) -> str:
    """Return the values allowed for the key at this path, in words."""
    return _describe(_schema_of(names))


def _schema_of(names: Iterable[str]) -> Mapping[str, Any]:
    schema = root = Settings.model_json_schema()
    for name in names:
        inner = schema.get("properties", {}).get(name)
        if inner is None:  # an item of a list: describe the list
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
    "string": "non-empty text",
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
