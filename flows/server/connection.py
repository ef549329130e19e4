"""The Prefect server of a run: the configured one, or Prefect's own temporary one."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from flows.server.diagnosis import (
    describe,
    explain,
    explain_version,
    is_compatible,
    without_password,
)
from tasks.errors import ServerError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import Settings


logger = logging.getLogger("wenti.server")

CHECK_SECONDS = 5.0
CHECK_TIMEOUT_SECONDS = 10.0  # a server that takes longer to report ready counts as unreachable
AWAY = (
    "Prefect's server does not answer (%s); the run continues, and finished work is kept; at its "
    "end, the run waits some minutes for the server"
)

# Prefect reads these when it is imported; values set by the user are kept.
PREFECT_DEFAULTS = {
    # The temporary server migrates its database first; Prefect's 20 s are short on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # A nightly job must not send usage data without consent.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Prefect's own log lines would repeat ours on the console; and when it cannot send an event at
    # once, it logs the whole event.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    # A call to an unreachable server is retried after 2, 4, 8 … 128 s: four minutes in all.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    # In addition to Prefect's codes: its server answers 500 without its database, and a proxy 504
    # without the server.
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
    # Seconds between heartbeats, by which an automation detects a run that was killed.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}


def set_defaults() -> None:
    """Set the environment variables that Prefect reads when it is imported."""
    for name, value in PREFECT_DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def connected() -> Iterator[None]:
    """Import Prefect with our defaults and provide a server while the block runs.

    Raises:
        ServerError: the server cannot be used at the start or at the end of the block.
    """
    _start_if_none()
    try:
        with _outages_logged():
            yield
    except httpx.HTTPError as error:
        raise ServerError(
            f"Prefect's server went away ({describe(error)})",
            "finished work is kept; run the same command again once the server is back",
        ) from error


def find_server() -> str | None:
    """Return the URL of the configured server without a password; None if none is configured.

    Raises:
        ServerError: it cannot be used, or a temporary server could not write its database.
    """
    set_defaults()
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    url = settings.api.url
    if not url:
        _check_home(settings)
        return None
    with _impatient_client() as client:
        _check(url, client)
    return without_password(url)


def _check_home(settings: Settings) -> None:
    """Require a writable database for a temporary server, which would else restart for ever."""
    database = settings.server.database.connection_url
    is_in_home = database is not None and str(settings.home) in database.get_secret_value()
    if is_in_home and not os.access(settings.home, os.W_OK):
        raise ServerError(f"Prefect cannot write into {settings.home}", "correct PREFECT_HOME")


def _start_if_none() -> None:
    if find_server() is not None:
        return
    logger.info("starting Prefect's temporary server; that takes some seconds")
    thread = threading.Thread(target=_start_server, daemon=True)
    thread.start()
    thread.join()


@contextmanager
def _impatient_client() -> Iterator[SyncPrefectClient]:
    """Yield a client that does not retry, for calls from this thread."""
    from prefect import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": CHECK_TIMEOUT_SECONDS}, sync_client=True) as client,
    ):
        yield client


def _check(url: str, client: SyncPrefectClient) -> None:
    """Check that a run can use this server.

    Raises:
        ServerError: it cannot; names the remedy.
    """
    import prefect

    try:
        _ask(client)
        version = prefect.__version__ if _is_cloud(client) else client.api_version()
    except (httpx.HTTPError, ValueError) as fault:
        raise explain(url, fault) from fault
    if not is_compatible(version, prefect.__version__):
        raise explain_version(url, version, prefect.__version__)


def _ask(client: SyncPrefectClient) -> None:
    """Check that the server and its database answer.

    Raises:
        httpx.HTTPError: they do not.
    """
    client.request("GET", "/health" if _is_cloud(client) else "/ready")


def _is_cloud(client: SyncPrefectClient) -> bool:
    from prefect.client.base import ServerType

    return client.server_type is ServerType.CLOUD


@contextmanager
def _outages_logged() -> Iterator[None]:
    """Log when the server stops answering and when it is back, while the block runs."""
    over = threading.Event()
    thread = threading.Thread(target=_log_outages, args=(over,), name="wenti server", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        # Python ends daemon threads by unwinding their stacks; in the Rust code of Prefect's client
        # this aborts the process: a successful run would end with exit code -6.
        thread.join()


def _log_outages(over: threading.Event) -> None:
    is_away = False
    while not over.wait(CHECK_SECONDS):
        was_away, fault = is_away, _fault()
        is_away = fault is not None
        if over.is_set() or is_away == was_away:
            continue
        if fault is None:
            logger.info("Prefect's server answers again")
        else:
            logger.warning(AWAY, describe(fault))


def _fault() -> httpx.HTTPError | None:
    """Return why the server does not answer; None if it does.

    It is asked over a new connection, because it closes those that are idle for some seconds.
    """
    try:
        with _impatient_client() as client:
            _ask(client)
    except httpx.HTTPError as fault:
        return fault
    return None


def _start_server() -> None:
    """Start the server with SIGINT and SIGHUP blocked; call it in a thread of its own.

    The server is in the terminal's process group. If the signal that stops the flow stopped the
    server too, Prefect would try for minutes to report the end of the flow to it. A process
    inherits the blocked signals of the thread that starts it; Prefect stops its server by a
    different signal.
    """
    from prefect.server.api.server import SubprocessASGIServer

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    SubprocessASGIServer().start()
