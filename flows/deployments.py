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
from tasks.errors import ConfigError
from tasks.findings import Finding

logger = logging.getLogger("wenti.deployments")

# What `prefect deploy` reads beyond this, such as the work pool, has no meaning here.
SERVED_KEYS = ("name", "description", "tags", "parameters", "concurrency_limit")


def serve_deployments(file: Path, names: Sequence[str], limit: int) -> None:
    """Serve deployments until SIGTERM or Ctrl-C: start their runs, on schedule and by hand.

    Runs that go on are ended then. A schedule goes on, so that what was due meanwhile is run later.

    Args:
        file: a prefect.yaml.
        names: of the deployments to serve; empty: all.
        limit: how many runs there are at most at a time.

    Raises:
        ConfigError: the file cannot be used, or has no deployment of such a name.
    """
    runner = ServingRunner(pause_on_shutdown=False, limit=limit)
    for one in [as_deployment(one) for one in read_deployments(file, names)]:
        runner.add_deployment(one)
        logger.info("serving %s", one.full_name)
    runner.run()


def read_deployments(file: Path, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Give the deployments of a prefect.yaml, all or those of some names.

    Raises:
        ConfigError: the file cannot be used, or has no deployment of such a name.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        known = {one["name"]: dict(one) for one in content["deployments"]}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError) as error:
        remedy = "give a file such as Wenti's own prefect.yaml with --file"
        raise ConfigError(str(file), [Finding("the file", str(error), remedy)]) from error
    unknown = [name for name in names if name not in known]
    if unknown:
        hint = f"known: {', '.join(known)}"
        raise ConfigError(
            str(file), [Finding(name, "no such deployment", hint) for name in unknown]
        )
    return [known[name] for name in names or known]


def as_deployment(one: Mapping[str, Any]) -> RunnerDeployment:
    """Give Prefect's own description of a deployment of prefect.yaml."""
    return RunnerDeployment.from_entrypoint(
        one["entrypoint"],
        schedules=[Schedule(**schedule) for schedule in one.get("schedules", [])],
        **{key: one[key] for key in SERVED_KEYS if key in one},
    )
