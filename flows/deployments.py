"""The deployments of prefect.yaml, served by one long-lived process without a work pool."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Schedule

from flows.server.runner import ServingRunner
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
    for one in [as_deployment(file, one) for one in read_deployments(file, names)]:
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
    try:
        return RunnerDeployment.from_entrypoint(
            one["entrypoint"],
            schedules=[Schedule(**schedule) for schedule in one.get("schedules", [])],
            **{key: one[key] for key in SERVED_KEYS if key in one},
        )
    except Exception as error:  # importing the flow can raise anything, and so can Prefect
        problem = " ".join(describe_error(error).split())
        remedy = "correct its entrypoint, or the option named here"
        raise ConfigError(str(file), [Finding(one["name"], problem, remedy)]) from error
