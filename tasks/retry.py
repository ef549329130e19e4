"""The retry policy: which errors are worth another attempt, how often, and after how long."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

from tasks.errors import WentiError, describe_error

logger = logging.getLogger("wenti.retry")

Answer = TypeVar("Answer")

DELAYS_SECONDS = (2.0, 4.0)
"""Before the second and the third attempt, which is the last."""

DOWNLOAD_DELAYS_SECONDS = (2.0, 10.0, 30.0)
"""The same for a download: a network is away for longer than a disk fails."""

JITTER = 0.5
"""Each delay varies at random, up to this share longer, so that workers do not retry in step."""


def is_retryable(error: BaseException) -> bool:
    """Return whether another attempt may succeed after this error.

    An error of Wenti says so itself; any error of the operating system may pass.
    """
    if isinstance(error, WentiError):
        return error.is_transient
    return isinstance(error, OSError)


class TaskRetries(TypedDict):
    """The arguments by which a task of Prefect follows the policy."""

    retries: int
    retry_delay_seconds: list[float]
    retry_jitter_factor: float
    retry_condition_fn: Callable[[Any, Any, Any], bool]


def task_retries(delays: Sequence[float] = DELAYS_SECONDS) -> TaskRetries:
    """Return the policy for a task of Prefect."""
    return TaskRetries(
        retries=len(delays),
        retry_delay_seconds=list(delays),
        retry_jitter_factor=JITTER,
        retry_condition_fn=_can_retry,
    )


def _can_retry(_task: object, _run: object, state: Any) -> bool:  # noqa: ANN401 of Prefect
    """Return whether a task run that ended in a state is worth another attempt, as Prefect asks."""
    error = state.result(raise_on_failure=False)
    if not isinstance(error, BaseException) or not is_retryable(error):
        return False
    logger.warning("trying again after: %s", describe_error(error))
    return True


def call_with_retries(
    make: Callable[[], Answer], delays: Sequence[float] = DELAYS_SECONDS
) -> Answer:
    """Return what `make` returns; call it again after errors that may pass, as the policy says.

    This is for what is no task of Prefect. The error of the last attempt, and one that another
    attempt cannot cure, passes through.
    """
    for delay in delays:
        try:
            return make()
        except Exception as error:
            if not is_retryable(error):
                raise
            seconds = delay * (1 + JITTER * random.random())  # noqa: S311 no secret
            logger.warning("trying again in %.0f s after: %s", seconds, describe_error(error))
            time.sleep(seconds)
    return make()
