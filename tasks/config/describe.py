"""Allowed values of a config key in words, from the JSON schema of the settings."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from tasks.config.settings import Settings


def known_keys(parents: Sequence[str]) -> list[str]:
    """Return the keys of the section at this path; the sections for an empty path."""
    return list(without_null(_schema_of(parents)).get("properties", {}))


def allowed(names: Sequence[str]) -> str:
    """Return the values allowed for the key at this path, in words."""
    return _describe(_schema_of(names))


def types_of(names: Sequence[str]) -> frozenset[str]:
    """Return the JSON types of the key at this path, such as `string`; empty if there is none."""
    parent = without_null(_schema_of(names[:-1]))
    inner = parent.get("properties", {}).get(names[-1], {})
    options = inner.get("anyOf", [inner])
    return frozenset(option["type"] for option in options if "type" in option)


def settings_schema() -> Mapping[str, Any]:
    """Return the JSON schema of the settings, with each definition in the place of its name."""
    schema = Settings.model_json_schema()
    whole: dict[str, Any] = _with_definitions(schema, schema.pop("$defs"))
    return whole


def without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a value that is not null."""
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    whole = {**schema, **(options[0] if options else {})}
    return {key: value for key, value in whole.items() if key != "anyOf"}


def _with_definitions(schema: Any, definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401 JSON
    if isinstance(schema, list):
        return [_with_definitions(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        definition = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**definition, **{key: schema[key] for key in schema if key != "$ref"}}
    return {key: _with_definitions(value, definitions) for key, value in schema.items()}


def suggest(name: str, known: Collection[str]) -> str:
    """Return a hint for an unknown name: the nearest of the known ones, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"


def _schema_of(names: Iterable[str]) -> Mapping[str, Any]:
    schema = _known_schema()
    for name in names:
        inner = without_null(schema).get("properties", {}).get(name)
        if inner is None:  # an item of a list: describe the list
            break
        schema = inner
    return schema


@cache
def _known_schema() -> Mapping[str, Any]:
    return settings_schema()


def _describe(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_describe(option) for option in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"a list of {_describe(schema['items'])}"
    if schema.get("type") == "object":
        return f"a mapping with the keys {', '.join(schema['properties'])}"
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
