"""What a run gets from Prefect and gives to it: its id, its day, why it is ended, its log lines."""

from __future__ import annotations

import logging
import os
from datetime import date, datetime

import httpx
from prefect import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import PrefectException
from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run

from tasks.errors import WentiError

logger = logging.getLogger("wenti")

SERVED_VARIABLE = "WENTI_SERVED"  # in the environment of the runs that `wenti serve` starts
STOPPED = "`wenti serve` was stopped; what was made is kept, and Retry goes on from there"


def flow_run_id() -> str:
    """Return the id of a run in Prefect, which stays the same when Prefect retries the run."""
    return str(flow_run.id)


def scheduled_day() -> date:
    """Return the day that a run was scheduled for, in the time zone of this process.

    It is the same when Prefect retries the run, be it days later.
    """
    scheduled: datetime = flow_run.scheduled_start_time
    return scheduled.astimezone().date()


def is_serve_stopped() -> bool:
    """Return whether SIGTERM ends this run because `wenti serve` is stopped, not to cancel the run.

    False if the server, which knows of a cancellation, cannot be asked.
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
    """Send our log lines to the page of the run that they belong to, each error only once."""
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, APILogHandler) for handler in logger.handlers):
        handler = APILogHandler()
        handler.addFilter(lambda _record: bool(FlowRunContext.get() or TaskRunContext.get()))
        logger.addHandler(handler)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_is_no_traceback)


def _is_no_traceback(record: logging.LogRecord) -> bool:
    """Return whether a record is not the traceback with which Prefect repeats an error of ours."""
    return not (record.exc_info and isinstance(record.exc_info[1], WentiError))
