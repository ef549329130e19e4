"""A Prefect server with its UI for `wenti serve`: a running one, or one that it starts."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from flows.server.connection import connected, set_defaults
from tasks.errors import ServerError

logger = logging.getLogger("wenti.hosting")

START_SECONDS = 180.0


@contextmanager
def hosted() -> Iterator[None]:
    """Provide a server with a UI while the block runs.

    It is the configured server, or the one at Prefect's default address; if neither exists, one is
    started and ends with the block.

    Raises:
        ServerError: the server cannot be reached, or does not start.
    """
    set_defaults()
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    settings = get_current_settings()
    if settings.api.url is not None:
        with connected():
            yield
        return
    url = f"http://{settings.server.api.host}:{settings.server.api.port}/api"
    os.environ["PREFECT_API_URL"] = url  # for the runs, which are separate processes
    with temporary_settings({PREFECT_API_URL: url}), _server_at(url):
        logger.info("Prefect's UI: %s", url.removesuffix("/api"))
        yield


@contextmanager
def _server_at(url: str) -> Iterator[None]:
    if _answers(url):
        yield
        return
    command = [sys.executable, "-m", "prefect", "server", "start"]
    logger.info("starting a Prefect server; the first time takes about a minute")
    # In a session of its own, so that Ctrl-C does not stop it before we report how the runs ended.
    with subprocess.Popen(  # noqa: S603 a command of our own
        command, stdout=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            _wait_for(url, server)
            yield
        finally:
            server.terminate()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if server.poll() is not None or time.monotonic() > deadline:
            raise ServerError(
                f"Prefect's server did not start at {url}",
                "read the lines above, free its port, or choose another with "
                "PREFECT_SERVER_API_PORT",
            )
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0).is_success
    except httpx.HTTPError:
        return False
