"""Reading prefect.yaml: every fault of the file at once, before a server is started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from flows.deployments.entries import DeploymentEntry, ScheduleEntry
from flows.deployments.parameters import check_parameters
from flows.deployments.permissions import find_faults
from tasks.config.describe import suggest
from tasks.config.files import read_yaml
from tasks.config.loading import show_value
from tasks.errors import ConfigError
from tasks.findings import Finding

EXAMPLE = "flows.question_generation.question_generation"
EXAMPLES = "Wenti's own prefect.yaml is an example; --file names another"
LIMIT = "a whole number, or `limit` and `collision_strategy` (ENQUEUE or CANCEL_NEW)"


def read_deployments(file: Path, names: Sequence[str] = ()) -> list[DeploymentEntry]:
    """Return the deployments in a prefect.yaml: those in `names`, or all if it is empty.

    Raises:
        ConfigError: the file cannot be used, or lacks a deployment of `names`; it lists all faults
            of these deployments.
    """
    listed = read_list(file)
    faults = list(_check_names(listed, names))
    chosen = [one for one in listed if isinstance(one, dict) and one.get("name")]
    if names:
        chosen = [one for name in names for one in chosen if one["name"] == name]
    entries = [_parse(one, faults) for one in chosen]
    if faults:
        raise ConfigError(str(file), faults)
    return [entry for entry in entries if entry is not None]


def list_names(file: Path) -> list[str]:
    """Return the names of all deployments in a prefect.yaml."""
    return [str(one["name"]) for one in read_list(file) if isinstance(one, dict) and "name" in one]


def read_list(file: Path) -> list[Any]:
    """Return the list of deployments in a prefect.yaml, without checking them.

    Raises:
        ConfigError: the file cannot be read, or has no such list.
    """
    listed = read_yaml(file, EXAMPLES).get("deployments")
    if not isinstance(listed, list) or not listed:
        fault = Finding("the file", "it has no list of `deployments`", EXAMPLES)
        raise ConfigError(str(file), [fault])
    return listed


def _check_names(listed: Sequence[Any], names: Sequence[str]) -> Iterator[Finding]:
    """Yield the faults of all names, because only they tell which deployments are meant."""
    known: list[str] = []
    for number, one in enumerate(listed):
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or not name:
            yield Finding(f"deployments[{number}]", "it has no `name`", "give it one")
        elif name in known:
            yield Finding(name, "two deployments have this name", "rename one")
        else:
            known.append(name)
    for name in names:
        if name not in known:
            yield Finding(name, "no such deployment", suggest(name, known))


def _parse(raw: Mapping[str, Any], faults: list[Finding]) -> DeploymentEntry | None:
    """Return a deployment; add its faults to `faults`, and return None if it has any."""
    before = len(faults)
    # An empty value, such as `schedules:` with nothing behind it, is that of a missing key.
    given = {key: value for key, value in raw.items() if value is not None}
    entry = None
    try:
        entry = DeploymentEntry.model_validate(given)
    except ValidationError as error:
        faults += _explain_all(str(raw["name"]), error.errors(include_url=False))
    faults += find_faults(given)
    parameters, schedules = given.get("parameters", {}), given.get("schedules", [])
    if isinstance(given.get("entrypoint"), str) and isinstance(parameters, dict):
        listed = schedules if isinstance(schedules, list) else []
        others = [one.get("parameters") or {} for one in listed if isinstance(one, dict)]
        faults += check_parameters(given, parameters, others)
    return entry if len(faults) == before else None


def _explain_all(name: str, errors: Iterable[ErrorDetails]) -> list[Finding]:
    """Return the faults, one per key: a union of types gives an error for each of them."""
    return list({fault.key: fault for fault in (_explain(name, one) for one in errors)}.values())


def _explain(name: str, details: ErrorDetails) -> Finding:
    """Return one of pydantic's errors as a fault: where it is, what is wrong, what is allowed."""
    path, kind, seen = details["loc"], details["type"], show_value(details["input"])
    if kind == "missing":
        return Finding(_place(name, path[:-1]), f"it has no `{path[-1]}`", _example(path[-1]))
    if path[0] == "concurrency_limit":
        return Finding(_place(name, path[:1]), f"{seen} is not allowed", f"allowed: {LIMIT}")
    if kind == "extra_forbidden":
        known = ScheduleEntry if path[0] == "schedules" else DeploymentEntry
        hint = suggest(str(path[-1]), list(known.model_fields))
        return Finding(_place(name, path), "no such key", hint)
    if kind == "value_error":
        reason = str(details["ctx"]["error"])
        return Finding(_place(name, path), f"{seen} is not allowed", reason)
    remedy = "write keys below it" if kind == "model_type" else details["msg"].lower()
    return Finding(_place(name, path), f"{seen} is not allowed", remedy)


def _place(name: str, path: Sequence[int | str]) -> str:
    """Return where a fault is, such as `nightly.schedules[0].cron`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return name + "".join(parts)


def _example(key: object) -> str:
    return f"give it one, such as {EXAMPLE}" if key == "entrypoint" else "give it one"
