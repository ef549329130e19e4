"""Allowed values of a config key in words, from the JSON schema of the settings."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, reduce
from typing import Any

from tasks.config.settings import Settings


def known_keys(parents: Sequence[str]) -> list[str]:
    """Return the keys of the section at this path; the sections for an empty path."""
    return list(without_null(_schema_of(parents)).get("properties", {}))


ENGLISH: Mapping[str, str] = {
    "or": "{} or {}",
    "enum": "one of {}",
    "array": "a list of {}",
    "object": "a mapping with the keys {}",
    "mapping": "a mapping of names to {}",
    "devices": "device names such as cpu, gpu:0, gpu:1",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "non-empty text",
    "null": "null",
    "other": "another value",
    "separator": ", ",
    "limits": "{} ({})",
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
"""The words for a JSON schema, by its keywords; `reference.zh.yaml` has those in Chinese."""


def allowed(names: Sequence[str], words: Mapping[str, str] = ENGLISH) -> str:
    """Return the values allowed for the key at this path, in words."""
    return _describe(_schema_of(names), words)


def types_of(names: Sequence[str]) -> frozenset[str]:
    """Return the JSON types of the key at this path, such as `string`; empty if there is none.

    A single text that stands beside other types, as `all` beside a list, does not count.
    """
    parent = without_null(_schema_of(names[:-1]))
    inner = parent.get("properties", {}).get(names[-1], {})
    options = [option for option in inner.get("anyOf", [inner]) if "const" not in option]
    return frozenset(option["type"] for option in options if "type" in option)


def settings_schema() -> Mapping[str, Any]:
    """Return the JSON schema of the settings, with each definition in the place of its name."""
    schema = Settings.model_json_schema()
    whole: dict[str, Any] = _with_definitions(schema, schema.pop("$defs"))
    return whole


def without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a value that is not null; of several kinds, that of the first."""
    whole = {**schema, **next(iter(options_of(schema)), {})}
    return {key: value for key, value in whole.items() if key != "anyOf"}


def options_of(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schemas of the kinds of values that are not null, if there is a choice."""
    return [option for option in schema.get("anyOf", []) if option.get("type") != "null"]


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


def _describe(schema: Mapping[str, Any], words: Mapping[str, str]) -> str:
    if "anyOf" in schema:
        options = [_describe(option, words) for option in schema["anyOf"]]
        return reduce(words["or"].format, options)
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return words["enum"].format(words["separator"].join(str(value) for value in schema["enum"]))
    if schema.get("type") == "array":
        return words["array"].format(_describe(schema["items"], words))
    if schema.get("type") == "object" and "properties" not in schema:
        return words["mapping"].format(_describe(schema["additionalProperties"], words))
    if schema.get("type") == "object":
        return words["object"].format(words["separator"].join(schema["properties"]))
    if "pattern" in schema:
        return words["devices"]
    return _with_limits(words.get(schema.get("type", "other"), words["other"]), schema, words)


def _with_limits(plain: str, schema: Mapping[str, Any], words: Mapping[str, str]) -> str:
    limits = [words[name].format(schema[name]) for name in _LIMITS if name in schema]
    return words["limits"].format(plain, words["separator"].join(limits)) if limits else plain


_LIMITS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
