"""The deployments of prefect.yaml, served by one long-lived process without a work pool."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.schedules import Schedule
from prefect.types.entrypoint import EntrypointType

from flows.parameters import form_of
from flows.permissions import VARIABLE, Permissions, as_variables, find_faults, permissions_of
from flows.run_context import deployment_name
from flows.server.runner import ServingRunner
from tasks.config.loading import find_config, load_settings
from tasks.config.overrides import Overrides
from tasks.config.settings import Settings
from tasks.errors import ConfigError, describe_error
from tasks.findings import Finding

logger = logging.getLogger("wenti.deployments")

# Other keys that `prefect deploy` reads, such as the work pool, have no meaning here.
SERVED_KEYS = ("name", "description", "tags", "parameters", "concurrency_limit")
EXAMPLE = "flows.question_generation.question_generation"


def serve_deployments(file: Path, names: Sequence[str], limit: int) -> None:
    """Serve deployments until SIGTERM or Ctrl-C: start their runs on schedule and on request.

    Then, active runs are ended. Schedules are not paused: runs that come due in the meantime are
    started later.

    Args:
        file: a prefect.yaml.
        names: the deployments to serve; if empty, all.
        limit: the maximum number of concurrent runs.

    Raises:
        ConfigError: the file cannot be used, or lacks a deployment of `names`.
    """
    runner = ServingRunner(pause_on_shutdown=False, limit=limit)
    chosen = read_deployments(file, names)
    os.environ.update(as_variables(chosen))
    for one in [as_deployment(file, one) for one in chosen]:
        runner.add_deployment(one)
        logger.info("serving %s", one.full_name)
    runner.run()


def read_deployments(file: Path, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the deployments in a prefect.yaml: those in `names`, or all if it is empty.

    Each has a `name` and an `entrypoint`; nothing else is checked.

    Raises:
        ConfigError: the file cannot be used, or lacks a deployment of `names`.
    """
    listed = _read_list(file)
    faults = [
        Finding(f"deployments[{number}]", "it has no `name`", "give it one")
        for number, one in enumerate(listed)
        if not isinstance(one, dict) or not isinstance(one.get("name"), str)
    ]
    if faults:
        raise ConfigError(str(file), faults)
    known = {one["name"]: one for one in listed}
    hint = f"known: {', '.join(known)}"
    faults = [Finding(name, "no such deployment", hint) for name in names if name not in known]
    chosen = [known[name] for name in names or known if name in known]
    remedy = f"give it one, such as {EXAMPLE}"
    faults += [
        Finding(one["name"], "it has no `entrypoint`", remedy)
        for one in chosen
        if not isinstance(one.get("entrypoint"), str)
    ]
    if faults:
        raise ConfigError(str(file), faults)
    return chosen


def _read_list(file: Path) -> list[Any]:
    remedy = "give a file such as Wenti's own prefect.yaml with --file"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(file), [Finding("the file", str(error), remedy)]) from error
    listed = content.get("deployments") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        problem = "it has no list of `deployments`"
        raise ConfigError(str(file), [Finding("the file", problem, remedy)])
    return listed


def as_deployment(file: Path, one: Mapping[str, Any]) -> RunnerDeployment:
    """Convert a deployment in prefect.yaml to Prefect's own class.

    Raises:
        ConfigError: Prefect cannot use it: its entrypoint is not a flow, or an option is invalid.
    """
    faults = find_faults(one)
    if faults:
        raise ConfigError(str(file), faults)
    try:
        return _as_deployment(one)
    except Exception as error:  # importing the flow can raise anything, and so can Prefect
        problem = " ".join(describe_error(error).split())
        remedy = "correct its entrypoint, or the option named here"
        raise ConfigError(str(file), [Finding(one["name"], problem, remedy)]) from error


def _as_deployment(one: Mapping[str, Any]) -> RunnerDeployment:
    flow: Flow[Any, Any] = load_flow_from_entrypoint(one["entrypoint"])
    deployment = RunnerDeployment.from_flow(
        form_of(flow, permissions_of(one).keys),
        entrypoint_type=EntrypointType.MODULE_PATH,
        schedules=[Schedule(**schedule) for schedule in one.get("schedules", [])],
        **{key: one[key] for key in SERVED_KEYS if key in one},
    )
    deployment.entrypoint = one["entrypoint"]
    return deployment


def find_permissions() -> Permissions | None:
    """Return the permissions of this run; None if it does not belong to a deployment.

    `wenti serve` passes on what it read in its prefect.yaml. In a work pool, it is the prefect.yaml
    in the working folder. If that does not know the deployment, the permissions are the default.

    Raises:
        ConfigError: there is no usable prefect.yaml.
    """
    name = deployment_name()
    if name is None:
        return None
    found = [one for one in _known_deployments() if one["name"] == name]
    return permissions_of(found[0]) if found else Permissions()


def _known_deployments() -> list[dict[str, Any]]:
    told = os.environ.get(VARIABLE)
    listed = read_deployments(Path("prefect.yaml")) if told is None else json.loads(told)
    return list(json.loads(json.dumps(listed, default=str)))  # as parameters are sent


def load_permitted(config: str, overrides: Overrides) -> tuple[Path, Settings]:
    """Return the file and the settings of a config, with those overrides that this run may set.

    Raises:
        ConfigError: the config or an override cannot be used, or may not be set.
    """
    permissions = find_permissions()
    if permissions is not None:
        overrides = permissions.apply(config, overrides)
    path = find_config(config)
    return path, load_settings(path, overrides)
