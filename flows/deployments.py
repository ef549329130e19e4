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

# What `prefect deploy` reads beyond this, such as the work pool, has no meaning here.
SERVED_KEYS = ("name", "description", "tags", "parameters", "concurrency_limit")
EXAMPLE = "flows.question_generation.question_generation"


def serve_deployments(file: Path, names: Sequence[str], limit: int) -> None:
    """Serve deployments until SIGTERM or Ctrl-C: start their runs, on schedule and by hand.

    Runs that go on are ended then. Schedules are not paused: what comes due meanwhile is run later.

    Args:
        file: a prefect.yaml.
        names: of the deployments to serve; empty: all.
        limit: how many runs there are at most at a time.

    Raises:
        ConfigError: the file cannot be used, or has no deployment of such a name.
    """
    runner = ServingRunner(pause_on_shutdown=False, limit=limit)
    for one in [as_deployment(file, one) for one in read_deployments(file, names)]:
        runner.add_deployment(one)
        logger.info("serving %s", one.full_name)
    runner.run()


def read_deployments(file: Path, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the deployments of a prefect.yaml, all or those of some names.

    Each has a `name` and an `entrypoint`; nothing else of it is checked.

    Raises:
        ConfigError: the file cannot be used, or has no deployment of such a name.
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
    """Return Prefect's own description of a deployment of prefect.yaml.

    Raises:
        ConfigError: Prefect cannot use it: its entrypoint is no flow, or an option is wrong.
    """
    try:
        return RunnerDeployment.from_entrypoint(
            one["entrypoint"],
            schedules=[Schedule(**schedule) for schedule in one.get("schedules", [])],
            **{key: one[key] for key in SERVED_KEYS if key in one},
        )
    except Exception as error:  # what importing the flow raises, and what Prefect does
        problem = " ".join(describe_error(error).split())
        remedy = "correct its entrypoint, or the option that this names"
        raise ConfigError(str(file), [Finding(one["name"], problem, remedy)]) from error
