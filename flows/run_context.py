"""What a run gets from Prefect and gives to it: its name, its id, its day, its log lines."""

from __future__ import annotations

import logging
from datetime import date, datetime

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run

from tasks.errors import WentiError

logger = logging.getLogger("wenti")


def flow_run_id() -> str:
    """Give the id of a run in Prefect, which stays the same when Prefect retries the run."""
    return str(flow_run.id)


def scheduled_day() -> date:
    """Give the day that a run was scheduled for, in the time zone of this process.

    It is the same when Prefect retries the run, be it days later.
    """
    scheduled: datetime = flow_run.scheduled_start_time
    return scheduled.astimezone().date()


def send_logs() -> None:
    """Have our log lines on the page of the run that they belong to, and no error twice."""
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, APILogHandler) for handler in logger.handlers):
        handler = APILogHandler()
        handler.addFilter(lambda _record: bool(FlowRunContext.get() or TaskRunContext.get()))
        logger.addHandler(handler)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_is_no_traceback)


def _is_no_traceback(record: logging.LogRecord) -> bool:
    """Tell whether a record is not the traceback with which Prefect repeats an error of ours."""
    return not (record.exc_info and isinstance(record.exc_info[1], WentiError))
