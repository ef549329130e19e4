"""Device slots: one run at a time on a device, by Prefect's global concurrency limits.

They only keep runs from slowing each other down; results are correct without them. A device
without a limit is free for all runs, and so is every device while the server is unreachable.

A slot is leased: the run renews the lease while it lives, and the slot of a killed run becomes free
when its lease expires.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.outages import tolerate_outage

logger = logging.getLogger("wenti.slots")

LEASE_SECONDS = 120.0
POLL_SECONDS = 2.0
RETRIES = 1  # for a server that does not answer: slots are not worth minutes of waiting


def slot_name(device: str) -> str:
    """Return the name of a device's limit, such as `wenti:HOST:gpu:0`; the default number is 0."""
    return f"wenti:{platform.node()}:{device if ':' in device else f'{device}:0'}"


@contextmanager
def slots(devices: Sequence[str], wait: bool = True) -> Iterator[bool]:
    """Wait for a slot of every device, take all at once, and hold them while the block runs.

    Without `wait`, take them only if all are free; yields whether that was so.
    """
    stack, are_taken = ExitStack(), True
    with _outage():
        are_taken = _take(stack, _limited(devices), wait)
    try:
        yield are_taken
    finally:
        with _outage(), _few_retries():
            stack.close()


def _limited(devices: Sequence[str]) -> list[str]:
    """Return the names of the limits that exist for these devices."""
    names = sorted({slot_name(device) for device in devices})
    with _few_retries(), get_client(sync_client=True) as client:
        return [name for name in names if _is_limited(client, name)]


def _is_limited(client: SyncPrefectClient, name: str) -> bool:
    try:
        return client.read_global_concurrency_limit_by_name(name).active
    except ObjectNotFound:
        return False


def _take(stack: ExitStack, names: list[str], wait: bool) -> bool:
    if not names or _enter(stack, names):
        return True
    if not wait:
        return False
    listed = ", ".join(names)
    command = "prefect global-concurrency-limit update NAME --active-slots 0"
    logger.info("waiting for another run to release %s; if there is none: %s", listed, command)
    while not _enter(stack, names):
        time.sleep(POLL_SECONDS)  # Prefect's own waiting cannot be stopped by Ctrl-C
    logger.info("the other run has released %s", listed)
    return True


def _enter(stack: ExitStack, names: list[str]) -> bool:
    """Take all slots if all are free; return whether they were."""
    slot = concurrency(
        names,
        max_retries=0,
        lease_duration=LEASE_SECONDS,
        raise_on_lease_renewal_failure=False,  # the work continues
    )
    try:
        stack.enter_context(slot)
    except ConcurrencySlotAcquisitionError as error:
        fault = error.__cause__
        is_taken = isinstance(fault, httpx.HTTPStatusError) and (
            fault.response.status_code == httpx.codes.LOCKED
        )
        if not is_taken:
            raise
        return False
    return True


def _few_retries() -> AbstractContextManager[object]:
    return temporary_settings({PREFECT_CLIENT_MAX_RETRIES: RETRIES})


def _outage() -> AbstractContextManager[None]:
    consequence = "cannot read concurrency limits from the Prefect server; continuing without them"
    return tolerate_outage(logger, consequence, ConcurrencySlotAcquisitionError)
