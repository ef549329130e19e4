"""What a run exchanges with Prefect: its id, its day, why it was stopped, its log lines."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
from prefect import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.logging.handlers import APILogHandler
from prefect.runtime import deployment, flow_run

from tasks.errors import WentiError
from tasks.escaping import VisibleFormatter

logger = logging.getLogger("wenti")

SERVED_VARIABLE = "WENTI_SERVED"  # in the environment of the runs that `wenti serve` starts
UTC = "UTC"  # in which Prefect runs a schedule without a time zone
STOPPED = "`wenti serve` was stopped; finished work is kept, and Retry continues from there"


def flow_run_id() -> str:
    """Return Prefect's id of the run, which a retry keeps."""
    return str(flow_run.id)


def deployment_name() -> str | None:
    """Return the name of the deployment that the run belongs to; None if it belongs to none."""
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    if run is None or run.deployment_id is None:
        return None
    return str(deployment.name)


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
    return _zone_of(flow_run.id)


@cache
def _zone_of(run_id: str) -> str | None:
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(run_id))
        if run.deployment_id is None:
            return None
        try:
            schedules = client.read_deployment_schedules(run.deployment_id)
        except ObjectNotFound:  # the deployment was deleted
            return None
    zones = {one.id: getattr(one.schedule, "timezone", None) or UTC for one in schedules}
    return choose_zone(run.created_by.id if run.created_by else None, zones)


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


def is_serve_stopped() -> bool:
    """Return whether SIGTERM means that `wenti serve` was stopped, not that the run was cancelled.

    False if the server, which knows about cancellations, cannot be reached.
    """
    if SERVED_VARIABLE not in os.environ:
        return False
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run.id).state
    except (httpx.HTTPError, PrefectException):
        return False
    return state is None or not state.is_cancelling()


def send_logs() -> None:
    """Send Wenti's log lines to the run's page in Prefect, each error only once."""
    logger.setLevel(logging.INFO)
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
