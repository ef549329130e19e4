"""A Prefect server with its UI for `wenti serve`: a running one, or one that it starts."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx

from flows.server.access import (
    Access,
    access_file,
    new_secret,
    own_access,
    read_access,
    write_access,
)
from flows.server.connection import asks_for_nothing, check_access, connected
from flows.server.diagnosis import SECRET, without_password
from flows.server.settings import read_settings
from tasks.errors import ServerError

if TYPE_CHECKING:
    from prefect.settings import Settings

logger = logging.getLogger("wenti.hosting")

START_SECONDS = 180.0
OTHER_PORT = "choose another port with PREFECT_SERVER_API_PORT"
OPEN = (
    "Prefect's server at %s asks for no secret: whoever reaches it, perhaps any web page in a "
    "browser, can start runs here; docs/operating.md says how to close it"
)


@contextmanager
def hosted(has_secret: bool = True) -> Iterator[None]:
    """Provide a server with a UI while the block runs.

    It is the configured server, or the one at Prefect's default address; if neither exists, one is
    started and ends with the block.

    Args:
        has_secret: whether a server that is started asks for a secret even if Prefect's settings
            have none. It is kept for the next one.

    Raises:
        ServerError: the server cannot be used, or does not start.
    """
    settings = read_settings()
    if settings.api.url:
        with connected():
            _warn_if_open(settings.api.url)
            yield
        return
    access = _choose_access(settings, has_secret)
    with _server_at(access, settings), access.used():
        write_access(access_file(settings), access)
        os.environ["PREFECT_API_URL"] = access.url  # for the runs, which are separate processes
        sign_in = f"; sign in with the {SECRET} in {access_file(settings)}"
        ui = without_password(access.url).removesuffix("/api")
        logger.info("Prefect's UI: %s%s", ui, sign_in if access.secret else "")
        yield


def _choose_access(settings: Settings, has_secret: bool) -> Access:
    access = own_access(settings)
    if access.secret is None and has_secret:
        known = read_access(access_file(settings))
        secret = known.secret if known is not None else None
        return replace(access, secret=secret or new_secret())
    return access


@contextmanager
def _server_at(access: Access, settings: Settings) -> Iterator[None]:
    if _answers(access.url):
        try:
            check_access(access)
        except ServerError as error:
            raise ServerError(error.problem, f"{error.remedy}, or {OTHER_PORT}") from error
        _warn_if_open(access.url)
        yield
        return
    _check_port(settings.server.api.host, settings.server.api.port)
    # `-P`: the working folder may have a folder named `flows`.
    command = [sys.executable, "-P", "-m", "flows.server.protection"]
    logger.info("starting a Prefect server; the first time takes about a minute")
    # In a session of its own, so that Ctrl-C does not stop it before we report how the runs ended.
    with subprocess.Popen(  # noqa: S603 a command of our own
        command, env=_environment(access), stdout=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            _wait_for(access.url, server)
            yield
        finally:
            server.terminate()


def _environment(access: Access) -> Mapping[str, str]:
    secret = {} if access.secret is None else {"PREFECT_SERVER_API_AUTH_STRING": access.secret}
    return {**os.environ, **secret}


def _check_port(host: str, port: int) -> None:
    """Check that a server can listen at an address.

    Raises:
        ServerError: it cannot.
    """
    where = f"Prefect's server cannot listen at {host}:{port}"
    if not 0 < port < 2**16:
        raise ServerError(f"{where} (a port is a number from 1 to 65535)", OTHER_PORT)
    try:
        family, kind, *_others, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except socket.gaierror as error:
        raise ServerError(
            f"{where} ({error.strerror})", "correct PREFECT_SERVER_API_HOST"
        ) from error
    except OSError as error:
        remedy = f"stop what uses that port, or {OTHER_PORT}"
        raise ServerError(f"{where} ({error.strerror})", remedy) from error


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if server.poll() is not None or time.monotonic() > deadline:
            remedy = f"read the lines above, free its port, or {OTHER_PORT}"
            raise ServerError(f"Prefect's server did not start at {url}", remedy)
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0).is_success
    except httpx.HTTPError:
        return False


def _warn_if_open(url: str) -> None:
    if asks_for_nothing(url):
        logger.warning(OPEN, without_password(url))
