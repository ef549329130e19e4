"""The deployments of prefect.yaml, served by one long-lived process without a work pool."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.types.entrypoint import EntrypointType

from flows.deployments.entries import IGNORED, ConcurrencyEntry, DeploymentEntry, describe_schedule
from flows.deployments.file import list_names
from flows.deployments.memory import Memory, forget, place_of, recall, recall_all, remember
from flows.deployments.parameters import load_flow, settable_keys
from flows.deployments.permissions import as_variables
from flows.deployments.places import find_place_warnings
from flows.deployments.schedules import Applied, Present, Step, plan_steps
from flows.parameters import form_of
from flows.server.runner import ServingRunner
from tasks.errors import UnusableError

logger = logging.getLogger("wenti.deployments")

POLLED = timedelta(seconds=30)  # since the last poll of a runner that is probably alive
SHOWN = {"description", "tags", "parameters"}


def serve_deployments(file: Path, entries: Sequence[DeploymentEntry], limit: int) -> None:
    """Serve deployments until SIGTERM or Ctrl-C: start their runs on schedule and on request.

    Then, active runs are ended. Schedules are not paused: runs that come due in the meantime are
    started later.

    Args:
        file: a prefect.yaml.
        entries: the deployments in it to serve.
        limit: the maximum number of concurrent runs.

    Raises:
        UnusableError: another `wenti serve` on this machine serves one of them.
    """
    for warning in find_place_warnings(entries):
        logger.warning("%s", warning)
    runner = ServingRunner(limit)
    os.environ.update(as_variables([entry.as_given() for entry in entries]))
    register(runner, file, entries)
    runner.run()


def register(runner: ServingRunner, file: Path, entries: Sequence[DeploymentEntry]) -> None:
    """Create or update deployments and their schedules, and give them to a runner.

    Raises:
        UnusableError: another `wenti serve` on this machine serves one of them.
    """
    deployments = [(entry, as_deployment(entry)) for entry in entries]
    with get_client(sync_client=True) as client:
        _check_unserved(client, [deployment for _entry, deployment in deployments])
        _retire(client, file, {one.name: one.full_name for _entry, one in deployments})
        for entry, deployment in deployments:
            _apply(client, runner, file, entry, deployment)
            logger.info("serving %s", deployment.full_name)


def as_deployment(entry: DeploymentEntry) -> RunnerDeployment:
    """Return a deployment as Prefect's own class, without its schedules."""
    limit: int | ConcurrencyLimitConfig | None
    if isinstance(entry.concurrency_limit, ConcurrencyEntry):
        limit = ConcurrencyLimitConfig.model_validate(entry.concurrency_limit.model_dump())
    else:
        limit = entry.concurrency_limit
    deployment = RunnerDeployment.from_flow(
        form_of(load_flow(entry.entrypoint), settable_keys(entry.as_given())),
        entry.name,
        entrypoint_type=EntrypointType.MODULE_PATH,
        description=entry.description,
        tags=entry.tags,
        version=entry.version,
        parameters=entry.parameters,
        concurrency_limit=limit,
        paused=entry.paused,
    )
    deployment.entrypoint = entry.entrypoint
    return deployment


def _find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _check_unserved(client: SyncPrefectClient, deployments: Sequence[RunnerDeployment]) -> None:
    """Require that no other `wenti serve` of this machine serves one of these deployments.

    Raises:
        UnusableError: one does.
    """
    for name in (one.full_name for one in deployments):
        found = _find(client, name)
        memory = None if found is None else recall(client, found.id)
        if found is None or memory is None:
            continue
        server = memory.server
        if server.is_running:
            raise UnusableError(
                f"{name} is served already, by process {server.process} with {memory.file}; stop "
                "it, or name the deployments to serve"
            )
        is_polled = found.last_polled and datetime.now(UTC) - found.last_polled < POLLED
        if not server.is_here and is_polled:
            message = "%s is also served on %s: its runs may start there (%s)"
            logger.warning(message, name, server.host, memory.file)


def _retire(client: SyncPrefectClient, file: Path, served: dict[str, str]) -> None:
    """Delete the schedules of deployments that an earlier `wenti serve` of this file has made.

    Args:
        client: of the server.
        file: the prefect.yaml.
        served: the full names, with the flow, of the deployments to serve, by their names.
    """
    names = list_names(file)
    for deployment, memory in list(recall_all(client)):
        name = memory.name.partition("/")[2]
        is_in_file = name in names and served.get(name, memory.name) == memory.name
        if memory.file != place_of(file) or is_in_file:
            continue
        try:
            schedules = client.read_deployment_schedules(deployment)
        except ObjectNotFound:  # it was deleted in Prefect
            schedules = []
        for one in schedules:
            client.delete_deployment_schedule(deployment, one.id)
            when = describe_schedule(one.schedule)
            logger.info("%s is no longer in %s: schedule %s deleted", memory.name, file, when)
        forget(client, deployment)


def _apply(
    client: SyncPrefectClient,
    runner: ServingRunner,
    file: Path,
    entry: DeploymentEntry,
    deployment: RunnerDeployment,
) -> None:
    """Create or update a deployment and its schedules; log what an operator would not expect."""
    name = deployment.full_name
    before = _find(client, name)
    memory = None if before is None else recall(client, before.id)
    if before is not None:
        if memory is None or memory.paused == entry.paused:
            deployment.paused = before.paused
        _log_changes(before, deployment)
    if deployment.paused:
        logger.info("%s is paused", name)
    for key in IGNORED:
        if getattr(entry, key) is not None:
            logger.warning("%s: `wenti serve` has no use for %s", name, key)
    # Prefect would replace all schedules by an empty list.
    deployment.model_fields_set.discard("schedules")
    deployment_id = cast(UUID, runner.add_deployment(deployment))
    runner.parameters[deployment_id] = list(load_flow(entry.entrypoint).parameters.properties)
    present = {str(one.id): one for one in client.read_deployment_schedules(deployment_id)}
    steps = plan_steps(
        entry.schedules,
        memory.schedules if memory else [],
        {key: Present(describe_schedule(one.schedule), one.active) for key, one in present.items()},
    )
    applied = [one for step in steps if (one := _take(client, deployment_id, step)) is not None]
    for step in steps:
        # At the first start, that a schedule is added is no news.
        if step.message and (before is not None or step.verb != "create"):
            logger.info("%s: %s", name, step.message)
    remember(client, deployment_id, Memory(name, place_of(file), applied, entry.paused))


def _take(client: SyncPrefectClient, deployment: UUID, step: Step) -> Applied | None:
    """Take a step; return what is to be remembered of a schedule of the file, otherwise None."""
    key = None if step.id is None else UUID(step.id)
    if step.verb == "delete" and key is not None:
        client.delete_deployment_schedule(deployment, key)
    if step.entry is None:
        return None
    wanted = step.entry.as_prefect()
    if step.verb == "create":
        key = client.create_deployment_schedules(deployment, [wanted])[0].id
    elif step.verb == "update" and key is not None:
        client.update_deployment_schedule(
            deployment,
            key,
            active=step.active,
            schedule=wanted.schedule,
            parameters=wanted.parameters,
            slug=wanted.slug,
        )
    return Applied.of(str(key), step.entry)


def _log_changes(before: DeploymentResponse, deployment: RunnerDeployment) -> None:
    """Log which keys of a deployment are no longer what they were in Prefect."""
    was = before.model_dump(mode="json", include=SHOWN)
    now = deployment.model_dump(mode="json", include=SHOWN)
    changed = [key for key in sorted(SHOWN) if was[key] != now[key]]
    if changed:
        keys = ", ".join(changed)
        logger.info("%s: %s changed to what the file says", deployment.full_name, keys)
