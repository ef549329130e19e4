"""Continuing without Prefect's server where its answer is helpful but not required."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx


@contextmanager
def tolerate_outage(
    logger: logging.Logger, consequence: str, *others: type[Exception]
) -> Iterator[None]:
    """Turn a failed call to the server in this block into a warning; the rest is skipped.

    Args:
        logger: logs the warning.
        consequence: what the failure leads to; the warning starts with it.
        others: exceptions other than httpx's that mean the same.
    """
    kinds: tuple[type[Exception], ...] = (httpx.HTTPError, *others)
    try:
        yield
    except kinds as error:
        logger.warning("%s: %s", consequence, error)
