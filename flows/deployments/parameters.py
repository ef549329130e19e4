"""Checking the parameters of a deployment, as the flow and Prefect's server will check them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from pydantic_core import to_jsonable_python

from flows.deployments.permissions import CONFIG, Permissions
from flows.parameters import form_of
from tasks.config.describe import allowed, suggest
from tasks.config.loading import CONFIGS, find_config, list_configs, load_settings
from tasks.errors import ConfigError, InputError, describe_error
from tasks.escaping import shorten
from tasks.findings import Finding
from tasks.operations.rerun import parse_shards

MODULE = "flows.question_generation"
LONGEST = 160  # characters of what another program says

Parameters = Mapping[str, Any]


def check_parameters(
    given: Mapping[str, Any], parameters: Parameters, schedules: Sequence[object]
) -> list[Finding]:
    """Return the faults of a deployment's entrypoint and parameters.

    Args:
        given: the deployment, with a `name` and an `entrypoint`, whose flow is imported.
        parameters: of the deployment.
        schedules: the parameters of each of its schedules, which override the deployment's.
    """
    name = given["name"]
    try:
        flow = load_flow(given["entrypoint"])
    except Exception as error:  # importing the flow can raise anything
        problem = shorten(" ".join(describe_error(error).split()), LONGEST)
        remedy = f"correct it; Wenti's flow is {MODULE}.question_generation"
        return [Finding(f"{name}.entrypoint", problem, remedy)]
    settable = settable_keys(given)
    parameters = to_jsonable_python(parameters, fallback=str)  # as the server receives it
    faults = list(_check(f"{name}.parameters", flow, settable, parameters))
    for number, others in enumerate(schedules):
        if isinstance(others, Mapping):
            place = f"{name}.schedules[{number}]"
            whole = {**parameters, **to_jsonable_python(others, fallback=str)}
            faults += _check_required(place, flow, whole)
            if others:
                before = {fault.problem for fault in faults}
                found = _check(f"{place}.parameters", flow, settable, whole)
                faults += [fault for fault in found if fault.problem not in before]
    return faults


@cache
def load_flow(entrypoint: str) -> Flow[..., Any]:
    """Return the flow at an entrypoint, such as `flows.question_generation.rerun`."""
    return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)


def is_ours(entrypoint: str) -> bool:
    """Return whether an entrypoint is a flow of Wenti; False if it cannot be imported."""
    with suppress(Exception):  # importing the flow can raise anything
        return load_flow(entrypoint).fn.__module__ == MODULE
    return False


def settable_keys(given: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys that a run of a deployment may set; the default for a wrong list."""
    listed = given.get("allow_overrides")
    is_list = isinstance(listed, list) and all(isinstance(one, str) for one in listed)
    return (Permissions(tuple(listed)) if listed is not None and is_list else Permissions()).keys


def _check_required(place: str, flow: Flow[..., Any], parameters: Parameters) -> Iterator[Finding]:
    for name in flow.parameters.required:
        if name not in parameters:
            remedy = "a scheduled run cannot ask for it; write it under `parameters`"
            yield Finding(place, f"`{name}` of {flow.name} is missing", remedy)


def _check(
    place: str, flow: Flow[..., Any], settable: Collection[str], parameters: Parameters
) -> Iterator[Finding]:
    known = flow.parameters.properties
    for name in parameters:
        if name not in known:
            problem = f"no such parameter of {flow.name}"
            yield Finding(f"{place}.{name}", problem, suggest(name, known))
    checked: set[str] = set()
    if flow.fn.__module__ == MODULE:
        for fault in _check_ours(place, parameters, settable):
            checked.add(fault.key.removeprefix(f"{place}.").partition(".")[0])
            yield fault
    # The server checks what the form shows, and the flow everything.
    form = parameter_schema(form_of(flow, settable))
    if isinstance(parameters.get("config"), str) and "config" not in form.properties:
        checked.add("config")  # it may be a path
    for schema in (form, flow.parameters):
        for error in validate(dict(parameters), schema.model_dump(), ignore_required=True):
            path = [str(part) for part in error.absolute_path]
            key = ".".join((place, *path))
            if path and not {path[0], key} & checked:  # one fault for each place is enough
                checked.add(key)
                yield Finding(key, shorten(error.message, LONGEST), _allowed(path))


def _allowed(path: Sequence[str]) -> str:
    is_key = path[0] == "overrides" and len(path) > 2
    return f"allowed: {allowed(path[1:])}" if is_key else "write it as in the form of Prefect's UI"


def _check_ours(place: str, parameters: Parameters, settable: Collection[str]) -> Iterator[Finding]:
    """Yield what the schema of the form cannot express: as `wenti run` would say it."""
    config, overrides = parameters.get("config"), parameters.get("overrides", {})
    if isinstance(config, str) and isinstance(overrides, Mapping):
        yield from _check_config(place, config, overrides, is_shown=CONFIG in settable)
    if isinstance(parameters.get("shards"), str):
        try:
            parse_shards(parameters["shards"] or None)
        except InputError as error:
            yield Finding(f"{place}.shards", str(error))


def _check_config(
    place: str, config: str, overrides: Mapping[str, Mapping[str, Any]], *, is_shown: bool
) -> Iterator[Finding]:
    known = list_configs()
    try:
        load_settings(find_config(config), overrides)
    except ConfigError as error:
        given = {str(section): values for section, values in overrides.items()}
        for fault in error.faults:
            where = _place_in(given, fault.key, f"config ({error.source}): {fault.key}")
            problem = f"{config!r}: {fault.problem}" if where == "config" else fault.problem
            yield Finding(f"{place}.{where}", problem, fault.remedy)
        return
    if is_shown and known and config not in known:
        problem = f"{config} is a path, and the form takes names of {CONFIGS}/"
        remedy = "put the file there and write its name, or leave `config` out of `allow_overrides`"
        yield Finding(f"{place}.config", problem, remedy)


def _place_in(overrides: Mapping[str, Any], key: str, otherwise: str) -> str:
    """Return where a fault of a config with overrides is."""
    if key == "the file":
        return "config"
    section, _dot, name = key.partition(".")
    values = overrides.get(section, {})
    names = {str(one) for one in values} if isinstance(values, Mapping) else {name}
    is_given = section in overrides and (not name or name.partition(".")[0] in names)
    return f"overrides.{key}" if is_given else otherwise
