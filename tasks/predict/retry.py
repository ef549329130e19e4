"""The retry policy of a shard: how often, after how long, and for which errors."""

from __future__ import annotations

from tasks.errors import WentiError

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
