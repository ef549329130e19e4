"""The flows' parameters, as Prefect's UI shows them in forms and its server validates them.

Their JSON schemas are generated from the settings, so that names, descriptions, defaults, allowed
values and limits are defined once. What a schema cannot express, such as incompatible values,
`tasks.config.loading.load_settings` reports in the first second of a run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import WithJsonSchema
from pydantic.json_schema import JsonSchemaValue

from tasks.config.describe import allowed, settings_schema, without_null
from tasks.config.loading import list_configs

SHOWN_TYPES = {"boolean", "string"}  # the form shows a switch, a list or a text field for them


def config_schema() -> JsonSchemaValue:
    """Return the schema of a config: the name of a file in the config folder."""
    known = list(list_configs())
    return {"type": "string", "enum": known} if known else {"type": "string"}


def overrides_schema() -> JsonSchemaValue:
    """Return the schema of the overrides: every key of every section, none required.

    A key that is left out has the config's value, so no key has a default: a form would send it.
    """
    sections = settings_schema()["properties"]
    described = {name: _mapping((name,), section) for name, section in sections.items()}
    return {"type": "object", "properties": described, "additionalProperties": False}


def _mapping(path: tuple[str, ...], schema: Mapping[str, Any]) -> JsonSchemaValue:
    """Return the schema of a section, or of a key with keys of its own."""
    keys = {key: _key((*path, key), inner) for key, inner in schema["properties"].items()}
    described = {"title": path[-1], "description": schema["description"]}
    return {"type": "object", **described, "properties": keys, "additionalProperties": False}


def _key(path: tuple[str, ...], schema: Mapping[str, Any]) -> JsonSchemaValue:
    """Return the schema of a key, titled as in a config, and without null."""
    known = without_null(schema)
    if known["type"] == "object":
        return _mapping(path, {**known, "description": schema["description"]})
    meaning = [schema["description"]]
    if known["type"] not in SHOWN_TYPES:
        meaning.append(f"Allowed: {allowed(path)}.")
    if schema["default"] is not None:
        meaning.append(f"Default: {json.dumps(schema['default'])}.")
    kept = {key: value for key, value in known.items() if key != "default"}
    return {**kept, "title": path[-1], "description": " ".join(meaning)}


Config = Annotated[str, WithJsonSchema(config_schema())]
Overrides = Annotated[dict[str, dict[str, Any]], WithJsonSchema(overrides_schema())]

NO_OVERRIDES: dict[str, dict[str, Any]] = {}
