"""What a run exchanges with Prefect: its id, its day, why it was stopped, its log lines."""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
from prefect import get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.logging.handlers import APILogHandler
from prefect.runtime import deployment, flow_run

from flows.server.settings import few_retries
from tasks.errors import WentiError
from tasks.escaping import VisibleFormatter

logger = logging.getLogger("wenti")

SERVED_VARIABLE = "WENTI_SERVED"  # in the environment of the runs that `wenti serve` starts
SERVER_SECONDS = 10.0  # to answer, while a run is being stopped
UTC = "UTC"  # in which Prefect runs a schedule without a time zone


def flow_run_id() -> str:
    """Return Prefect's id of the run, which a retry keeps."""
    return str(flow_run.id)


def deployment_name() -> str | None:
    """Return the name of the deployment that the run belongs to; None if it belongs to none."""
    return str(deployment.name) if _is_deployed() else None


def _is_deployed() -> bool:
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    return run is not None and run.deployment_id is not None


def scheduled_day() -> date:
    """Return the day that the run was scheduled for, in the time zone of its schedule.

    A late start and a retry keep it, even days later. See `choose_zone` for runs that no schedule
    has made.
    """
    scheduled: datetime = flow_run.scheduled_start_time
    return day_in(scheduled, schedule_zone())


def day_in(moment: datetime, zone: str | None) -> date:
    """Return the day of a moment in a time zone; None is the zone of this process."""
    return moment.astimezone(None if zone is None else ZoneInfo(zone)).date()


def schedule_zone() -> str | None:
    """Return the time zone of the run's days, such as Asia/Shanghai; None: that of this process."""
    creator, deployment = _origin_of(flow_run.id)
    schedules = () if deployment is None else deployment.schedules
    zones = {one.id: getattr(one.schedule, "timezone", None) or UTC for one in schedules}
    return choose_zone(creator, zones)


def job_name() -> str | None:
    """Return the name of the run's deployment, by which its runs are known.

    None: the run has no deployment, or another config than the deployment's own.
    """
    _creator, deployment = _origin_of(flow_run.id)
    if deployment is None:
        return None
    config = flow_run.parameters.get("config")
    return deployment.name if config == deployment.parameters.get("config", config) else None


@cache
def _origin_of(run_id: str | None) -> tuple[UUID | None, DeploymentResponse | None]:
    """Return the id of what has made a run, for example a schedule, and the run's deployment."""
    if run_id is None:
        return None, None
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(run_id))
        creator = None if run.created_by is None else run.created_by.id
        if run.deployment_id is None:
            return creator, None
        try:
            return creator, client.read_deployment(run.deployment_id)
        except ObjectNotFound:  # it was deleted
            return creator, None


def choose_zone(creator: UUID | None, zones: Mapping[UUID, str]) -> str | None:
    """Return the time zone of a run's days: that of the schedule that has made it.

    If no schedule has made it, or the schedule is gone, it is the zone of the deployment's
    schedules, so that `{date}` means the same when the run is started by hand. None: the schedules
    differ, or there are none.

    Args:
        creator: the id of what has made the run.
        zones: the time zones of the deployment's schedules, by their ids.
    """
    if creator is not None and creator in zones:
        return zones[creator]
    different = set(zones.values())
    return different.pop() if len(different) == 1 else None


class Stop(StrEnum):
    """What has stopped a run by SIGTERM, as run.json says it."""

    SERVE = "`wenti serve` was stopped"
    CANCELLED = "cancelled in Prefect"
    SIGNAL = "stopped by SIGTERM"

    @property
    def message(self) -> str:
        """The message of the run's state in Prefect."""
        return f"{self}; finished work is kept, and Retry continues from there"


def find_stop() -> Stop:
    """Return what has sent SIGTERM to this run; to be called after it has arrived.

    Without an answer of the server, which knows about cancellations, it is `SIGNAL`. The server is
    not waited for, because what stops the run may soon kill it.
    """
    return _find_stop(flow_run.id)


@cache
def _find_stop(run_id: str) -> Stop:
    if _is_serve_stopped():
        return Stop.SERVE
    timeout = {"timeout": SERVER_SECONDS}
    try:
        with few_retries(0), get_client(httpx_settings=timeout, sync_client=True) as client:
            state = client.read_flow_run(UUID(run_id)).state
    except (httpx.HTTPError, PrefectException):
        return Stop.SIGNAL
    return Stop.CANCELLED if state is not None and state.is_cancelling() else Stop.SIGNAL


def is_left_to_prefect() -> bool:
    """Return whether a run that SIGTERM has stopped ends as Prefect has it, by raising the signal.

    So ends a cancelled run, which Prefect marks, and that of a command, whose exit code tells of
    the signal.
    """
    stop = find_stop()
    return stop is Stop.CANCELLED or (stop is Stop.SIGNAL and not _is_deployed())


def _is_serve_stopped() -> bool:
    """Return whether the `wenti serve` that has started this run is stopping, or has ended.

    The variable is the number of a file descriptor: of a pipe whose other end it closes.
    """
    descriptor = os.environ.get(SERVED_VARIABLE)
    if descriptor is None:
        return False
    try:
        return bool(select.select([int(descriptor)], [], [], 0)[0])
    except (OSError, ValueError):  # a variable that was inherited without its descriptor
        return False


def send_logs() -> None:
    """Send Wenti's log lines to the run's page in Prefect, each error only once."""
    logger.setLevel(logging.INFO)
    logging.raiseExceptions = False  # else Prefect prints that a server which is away gets no lines
    if not any(isinstance(handler, APILogHandler) for handler in logger.handlers):
        handler = APILogHandler()
        handler.setFormatter(VisibleFormatter())
        handler.addFilter(lambda _record: bool(FlowRunContext.get() or TaskRunContext.get()))
        logger.addHandler(handler)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_is_not_repeated)


def _is_not_repeated(record: logging.LogRecord) -> bool:
    """Return whether a record is not Prefect's traceback of a `WentiError`, logged already."""
    return not (record.exc_info and isinstance(record.exc_info[1], WentiError))
