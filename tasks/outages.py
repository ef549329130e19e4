"""Going on when Prefect's server is away: what it is told or asked is a help, never a condition."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx


@contextmanager
def tolerate_outage(
    logger: logging.Logger, consequence: str, *others: type[Exception]
) -> Iterator[None]:
    """Leave this block with a warning if a call to the server fails in it.

    Args:
        logger: who warns.
        consequence: what follows from the failure; the warning begins with it.
        others: errors besides httpx's that mean the same.
    """
    kinds: tuple[type[Exception], ...] = (httpx.HTTPError, *others)
    try:
        yield
    except kinds as error:
        logger.warning("%s: %s", consequence, error)
