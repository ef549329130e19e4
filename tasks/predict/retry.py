"""The retry policy of a shard: how often, after how long, and for which errors."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from tasks.errors import WentiError, describe_error

logger = logging.getLogger("wenti.retry")

Answer = TypeVar("Answer")

DELAYS_SECONDS = (2.0, 4.0)
"""Before the second and the third attempt, which is the last."""

JITTER = 0.5
"""Each delay varies at random, up to this share longer, so that workers do not retry in step."""


def is_retryable(error: BaseException) -> bool:
    """Return whether another attempt may succeed after this error.

    An error of Wenti says so itself; any error of the operating system may pass.
    """
    if isinstance(error, WentiError):
        return error.is_transient
    return isinstance(error, OSError)


def call_with_retries(make: Callable[[], Answer]) -> Answer:
    """Return what `make` returns; call it again after errors that may pass, as the policy says.

    The error of the last attempt, and one that another attempt cannot cure, passes through.
    """
    for delay in DELAYS_SECONDS:
        try:
            return make()
        except Exception as error:
            if not is_retryable(error):
                raise
            seconds = delay * (1 + JITTER * random.random())  # noqa: S311 no secret
            logger.warning("trying again in %.0f s after: %s", seconds, describe_error(error))
            time.sleep(seconds)
    return make()
