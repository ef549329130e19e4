"""The flows' parameters, as Prefect's UI shows them in forms and its server validates them.

Their JSON schemas are generated from the settings, so that names, descriptions, defaults, allowed
values and limits are defined once. What a schema cannot express, such as incompatible values,
`tasks.config.loading.load_settings` reports in the first second of a run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Annotated, Any, ParamSpec, TypeVar

from prefect import Flow
from pydantic import WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import to_jsonable_python

from flows.deployments.permissions import Permissions
from tasks.config.describe import allowed, options_of, settings_schema, without_null
from tasks.config.loading import list_configs
from tasks.escaping import encodable

FOR_EVERYBODY = ("dataset", "model", "aggregate", "decode", "report")
"""The sections that the form shows first: what a person changes from run to run."""

FIRST = (*FOR_EVERYBODY, "predict")
FIRST_KEYS = ("predict_file", "limit")
"""The keys that are first in their section of the form."""

OPERATING = "For tuning and operating."

SHOWN_TYPES = {"boolean", "string"}  # the form shows a list or a text field for them


_TITLES = {"array": "list", "boolean": "true or false", "string": "text", "integer": "number"}


def config_schema() -> JsonSchemaValue:
    """Return the schema of a config: the name of a file in the config folder."""
    known = list(list_configs())
    return {"type": "string", "enum": known} if known else {"type": "string"}


def overrides_schema(settable: Collection[str]) -> JsonSchemaValue:
    """Return the schema of the overrides: every key of every section, none required.

    A key that is left out has the config's value, so no key has a default: a form would send it.
    The form shows the properties only, in the order of `position`, so keys that are not `settable`
    (as `section.key`) are patterns: prefect.yaml may set them.
    """
    schemas = settings_schema()["properties"]
    sections = {name: _section(name, schemas[name], settable) for name in _in_order(schemas, FIRST)}
    shown = {name for name, section in sections.items() if section["properties"]}
    return {"type": "object", **_divide(sections, shown)}


def _in_order(names: Iterable[str], first: Sequence[str]) -> list[str]:
    """Return names with those in `first` before the others."""
    return sorted(names, key=lambda name: first.index(name) if name in first else len(first))


def _section(name: str, schema: Mapping[str, Any], settable: Collection[str]) -> JsonSchemaValue:
    """Return the schema of a section, which says if it is for whoever operates the machine."""
    mapping = _mapping((name,), schema, settable)
    if name in FOR_EVERYBODY:
        return mapping
    return {**mapping, "description": f"{OPERATING} {mapping['description']}"}


def _mapping(
    path: tuple[str, ...], schema: Mapping[str, Any], settable: Collection[str]
) -> JsonSchemaValue:
    """Return the schema of a section, or of a key with keys of its own."""
    schemas = schema["properties"]
    paths = {name: (*path, name) for name in _in_order(schemas, FIRST_KEYS)}
    keys = {name: _key(path, schemas[name], settable) for name, path in paths.items()}
    described = {"title": path[-1], "description": schema["description"]}
    shown = {name for name in keys if ".".join(paths[name][:2]) in settable}
    return {"type": "object", **described, **_divide(keys, shown)}


def _divide(schemas: Mapping[str, JsonSchemaValue], shown: Collection[str]) -> JsonSchemaValue:
    """Return what an object may have: properties to show, and others that are only allowed."""
    ordered = [name for name in schemas if name in shown]
    properties = {
        name: {**schemas[name], "position": position} for position, name in enumerate(ordered)
    }
    others = {f"^{name}$": schema for name, schema in schemas.items() if name not in shown}
    return {"properties": properties, "patternProperties": others, "additionalProperties": False}


def _key(
    path: tuple[str, ...], schema: Mapping[str, Any], settable: Collection[str]
) -> JsonSchemaValue:
    """Return the schema of a key, titled as in a config, and without null."""
    known = without_null(schema)
    if "properties" in known:
        return _mapping(path, {**known, "description": schema["description"]}, settable)
    meaning = [schema["description"]]
    if known["type"] not in SHOWN_TYPES:
        meaning.append(f"Allowed: {allowed(path)}.")
    kept = {key: value for key, value in known.items() if key != "default"}
    if len(options := options_of(schema)) > 1:  # the form has a tab for each, with its title
        titles = [one["const"] if "const" in one else _TITLES[one["type"]] for one in options]
        tabs = zip(titles, options, strict=True)
        kept = {"anyOf": [{"title": title, **one} for title, one in tabs]}
    elif known["type"] == "boolean":  # of which the form draws a switch, and one is never empty
        kept["enum"] = [True, False]
    return {**kept, "title": path[-1], "description": " ".join(meaning)}


def form_of(flow: Flow[Any, Any], settable: Collection[str]) -> Flow[Any, Any]:
    """Return a copy of a flow whose parameters, as Prefect shows them, are those to be set.

    Args:
        flow: `question_generation`, `rerun`, or one that has some of their parameters.
        settable: the keys that may be set, as of `Permissions.keys`.
    """
    signature = inspect.signature(flow, eval_str=True)
    kinds = {"config": Config, "store.path": StoreFolder}
    hidden = [kind for key, kind in kinds.items() if key not in settable]
    shown = [
        one.replace(annotation=_overrides(settable)) if one.annotation == Overrides else one
        for one in signature.parameters.values()
        if one.annotation not in hidden
    ]
    copy = flow.with_options()
    vars(copy)["__signature__"] = signature.replace(parameters=shown)  # read by `inspect`
    return copy


def _overrides(settable: Collection[str]) -> Any:  # noqa: ANN401 a type
    return Annotated[dict[str, dict[str, Any]], WithJsonSchema(overrides_schema(settable))]


Config = Annotated[str, WithJsonSchema(config_schema())]
StoreFolder = Annotated[str, WithJsonSchema({"type": "string"})]
Overrides = _overrides(Permissions().keys)

STORE = "wenti-store"
NO_OVERRIDES: dict[str, dict[str, Any]] = {}

# Prefect sends parameters to its server as UTF-8, which the bytes of other file names are not.
_exact: ContextVar[Mapping[str, Any]] = ContextVar("exact", default=MappingProxyType({}))
Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@contextmanager
def exact(**parameters: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 of any parameter
    """Yield parameters for a flow that is called in this block, in a form that Prefect can show.

    `exact_value` returns what they stand for.
    """
    token = _exact.set(parameters)
    try:
        yield {name: _encodable(value) for name, value in parameters.items()}
    finally:
        _exact.reset(token)


def exact_value(name: str, shown: Value) -> Value:
    """Return a parameter as it was given to `exact`; `shown` itself outside of such a block."""
    value: Value = _exact.get().get(name, shown)
    return value


def _encodable(value: object) -> object:
    if isinstance(value, Mapping):
        return {encodable(key): _encodable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return list(map(_encodable, value))
    return encodable(value) if isinstance(value, str) else value


class PlainFlow(Flow[Arguments, Result]):
    """A flow whose parameters are plain values and dates.

    To send parameters of any type to its server, Prefect imports FastAPI, for 0.13 s of CPU.
    """

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return parameters as JSON types."""
        plain: dict[str, Any] = to_jsonable_python(parameters)
        return plain


def plain_flow(
    name: str, name_run: Callable[[], str]
) -> Callable[[Callable[Arguments, Result]], PlainFlow[Arguments, Result]]:
    """Return a decorator that makes a `PlainFlow`, whose runs are named by `name_run`.

    A whole run is never retried, whatever PREFECT_FLOWS_DEFAULT_RETRIES says: shards have their own
    retries, and somebody has to correct any other cause first.
    """
    return lambda function: PlainFlow(function, name=name, flow_run_name=name_run, retries=0)
