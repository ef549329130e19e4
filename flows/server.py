"""The Prefect server of a run: the one that is set up, or else Prefect's own temporary one."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.errors import ServerError

logger = logging.getLogger("wenti.server")

# Prefect reads these when it is imported; what the user has set stays.
PREFECT_DEFAULTS = {
    # The temporary server migrates its database first; its own 20 s are few on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # No usage data goes out from somebody's nightly job unasked.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Our log lines go to Prefect's UI; its own do not repeat them on the console.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "wenti",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


@contextmanager
def connected() -> Iterator[None]:
    """Import Prefect with our defaults and have a server for what runs in this block.

    Raises:
        ServerError: the server cannot be reached, at the beginning or at the end.
    """
    for name, value in PREFECT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    import httpx

    _start_if_none()
    try:
        yield
    except httpx.TransportError as error:
        raise ServerError(
            f"Prefect's server went away ({error}); what was made is kept, and the same command "
            "goes on from there once the server is back"
        ) from error


def _start_if_none() -> None:
    from prefect import get_client
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        logger.info("starting Prefect's temporary server; that takes some seconds")
        thread = threading.Thread(target=_start_server, daemon=True)
        thread.start()
        thread.join()
        return
    with get_client(sync_client=True) as client:
        fault = client.api_healthcheck()
    if fault is not None:
        raise ServerError(
            f"Prefect's server at {url} cannot be reached ({fault}); start it, correct "
            "PREFECT_API_URL, or unset that to use a temporary one"
        )


def _start_server() -> None:
    """Start the server where Ctrl-C does not reach it.

    It is in the terminal's process group. If it died of the same Ctrl-C as the flow, Prefect would
    try for minutes to tell it that the flow has ended. A signal that is blocked in the thread that
    starts a process is blocked in the process; Prefect ends its server by another one.
    """
    from prefect.server.api.server import SubprocessASGIServer

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    SubprocessASGIServer().start()
