"""Slots: one run at a time on a device, as far as Prefect's global concurrency limits tell.

They only keep runs from slowing each other down; what a run makes is right without them. A device
whose limit nobody made is free for all, and so is every device while the server is away.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

logger = logging.getLogger("wenti.slots")

PATIENCE_SECONDS = 2.0


def slot_name(device: str) -> str:
    """Give the name of a device's limit, `wenti:HOST:gpu:0`; a device without a number is 0."""
    return f"wenti:{platform.node()}:{device if ':' in device else f'{device}:0'}"


@contextmanager
def slots(devices: Sequence[str]) -> Iterator[None]:
    """Hold a slot of every device, all at once, as long as the block lasts; waits for them."""
    stack = ExitStack()
    with _server_may_be_away():
        _take(stack, _limited(devices))
    try:
        yield
    finally:
        with _server_may_be_away():
            stack.close()


def _limited(devices: Sequence[str]) -> list[str]:
    """Give the names of the limits that somebody made for these devices."""
    names = sorted({slot_name(device) for device in devices})
    with get_client(sync_client=True) as client:
        return [name for name in names if _is_limit(client, name)]


def _is_limit(client: SyncPrefectClient, name: str) -> bool:
    try:
        client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        return False
    return True


def _take(stack: ExitStack, names: list[str]) -> None:
    if not names:
        return
    try:
        _enter(stack, names, PATIENCE_SECONDS)
    except TimeoutError:
        logger.info("waiting for another run to leave %s", ", ".join(names))
        _enter(stack, names, None)


def _enter(stack: ExitStack, names: list[str], seconds: float | None) -> None:
    # A lease that could not be renewed ends nothing: the work goes on.
    slot = concurrency(names, timeout_seconds=seconds, raise_on_lease_renewal_failure=False)
    stack.enter_context(slot)


@contextmanager
def _server_may_be_away() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, ConcurrencySlotAcquisitionError) as error:
        logger.warning("Prefect's server does not tell about slots, going on: %s", error)
