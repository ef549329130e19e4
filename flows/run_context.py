"""What a run exchanges with Prefect: its id, its day, why it was stopped, its log lines."""

from __future__ import annotations

import logging
import os
from datetime import date, datetime

import httpx
from prefect import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import PrefectException
from prefect.logging.handlers import APILogHandler
from prefect.runtime import deployment, flow_run

from tasks.errors import WentiError
from tasks.escaping import VisibleFormatter

logger = logging.getLogger("wenti")

SERVED_VARIABLE = "WENTI_SERVED"  # in the environment of the runs that `wenti serve` starts
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
    """Return the day that the run was scheduled for, in the time zone of this process.

    A retry keeps it, even days later.
    """
    scheduled: datetime = flow_run.scheduled_start_time
    return scheduled.astimezone().date()


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
