"""The Prefect server of a run: the configured one, that of `wenti serve`, or a temporary one."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING

import httpx

from flows.server.access import Access, configured_access, new_secret, possible_servers
from flows.server.diagnosis import describe, explain, explain_version, is_compatible
from flows.server.proxies import require_proxy
from flows.server.settings import HOME, few_retries, read_settings
from flows.server.temporary.database import is_migrated
from flows.server.temporary.server import TemporaryServer, end_early
from tasks.environment import is_writable
from tasks.errors import ServerError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import Settings


logger = logging.getLogger("wenti.server")

CHECK_SECONDS = 5.0
CHECK_TIMEOUT_SECONDS = 10.0
PATIENCE = 6  # how often a run asks a server that accepts connections, but is too busy to answer
AWAY = (
    "Prefect's server does not answer (%s); the run continues, and finished work is kept; at its "
    "end, the run waits some minutes for the server"
)
GIVEN_UP = (
    "stopped; finished work is kept, and the same command continues; Prefect's server does not "
    "answer (%s), and will still show the run as Running"
)
INTERRUPTED = 130  # exit code

STOPPING = threading.Event()
"""Set when a run has recorded that it is stopped: it no longer waits for a server that is away."""

_started: list[tuple[TemporaryServer, Access]] = []


@contextmanager
def connected(*, may_exit: bool = True) -> Iterator[None]:
    """Import Prefect with our defaults and provide a server while the block runs.

    With `may_exit`, a run that was stopped ends this process if the server is away, instead of
    waiting for it.

    Raises:
        ServerError: the server cannot be used at the start or at the end of the block.
    """
    try:
        STOPPING.clear()
        with _server(), _outages_logged(may_exit):
            yield
    except httpx.HTTPError as error:
        raise ServerError(
            f"Prefect's server went away ({describe(error)})",
            "finished work is kept; run the same command again once the server is back",
        ) from error


def find_server() -> Access | None:
    """Return the configured server, or the one that `wenti serve` runs; None for a temporary one.

    Raises:
        ServerError: the configured one cannot be used, or a temporary one could not write its
            database.
    """
    settings = read_settings()
    if settings.api.url:
        configured = configured_access(settings, settings.api.url)
        check_access(configured)
        return configured
    if settings.api.url is None:  # not the empty text, which asks for a temporary server
        for access in possible_servers(settings):
            if _is_usable(access):
                return access
    _check_home(settings)
    return None


def check_access(access: Access) -> None:
    """Check that a run can use a server.

    Raises:
        ServerError: it cannot; names the remedy.
    """
    require_proxy(access.url)
    with access.used(), _impatient_client() as client:
        _check(access.url, client)


def asks_for_nothing(url: str) -> bool:
    """Return whether a server that can be used answers without a secret."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, temporary_settings

    with (
        temporary_settings(restore_defaults={PREFECT_API_AUTH_STRING, PREFECT_API_KEY}),
        Access(url).used(),
        _impatient_client() as client,
    ):
        try:
            client.api_version()
        except httpx.HTTPError:
            return False
    return True


def _is_usable(access: Access) -> bool:
    try:
        check_access(access)
    except ServerError as error:
        if not isinstance(error.__cause__, httpx.ConnectError):
            logger.info("not using the server of `wenti serve`: %s", error)
        return False
    logger.info("using the server of `wenti serve` at %s", access.url)
    return True


def _check_home(settings: Settings) -> None:
    """Require a writable database for a temporary server, which would else restart for ever."""
    database = settings.server.database.connection_url
    is_in_home = database is not None and str(settings.home) in database.get_secret_value()
    if is_in_home and not is_writable(settings.home):
        raise ServerError(
            f"Prefect cannot write into {settings.home}",
            f"set {HOME} to a folder that can be written, or PREFECT_API_URL",
        )


@contextmanager
def _server() -> Iterator[None]:
    """Let Prefect's clients use the server of the run in the block."""
    found = find_server()
    if found is not None:
        end_early()
        with found.used():
            yield
        return
    with _temporary_server().used():
        yield


def _temporary_server() -> Access:
    """Return the access to this process's temporary server, which is started unless it runs.

    A command has one run, a notebook has several.
    """
    for server, access in _started:
        if server.process.poll() is None:
            return access
    logger.info("starting Prefect's temporary server; that takes some seconds")
    _started[:] = [_start_server()]
    return _started[0][1]


def _start_server() -> tuple[TemporaryServer, Access]:
    """Start a temporary server; return it and the access to it.

    Clients that know its address do not import Prefect's server, which takes longer than they do.
    """
    from prefect.settings import get_current_settings

    settings, secret = get_current_settings(), new_secret()
    variables = settings.to_environment_variables(exclude_unset=True)
    closed = {"PREFECT_SERVER_API_AUTH_STRING": secret, "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ""}
    database = settings.server.database.connection_url
    if database is not None and is_migrated(database.get_secret_value()):
        variables["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"
    server = TemporaryServer({**variables, **closed})
    port = server.port(settings.server.ephemeral.startup_timeout_seconds)
    return server, Access(f"http://127.0.0.1:{port}/api", secret)


@contextmanager
def _impatient_client() -> Iterator[SyncPrefectClient]:
    """Yield a client that does not retry, for calls from this thread.

    Each call has a connection of its own, because a server closes those that are idle.
    """
    from prefect import get_client

    options = {
        "timeout": CHECK_TIMEOUT_SECONDS,
        "limits": httpx.Limits(max_keepalive_connections=0),
    }
    with few_retries(0), get_client(httpx_settings=options, sync_client=True) as client:
        yield client


def _check(url: str, client: SyncPrefectClient) -> None:
    """Check that a run can use this server.

    Raises:
        ServerError: it cannot; names the remedy.
    """
    import prefect

    try:
        _ask_patiently(client)
        version = prefect.__version__ if _is_cloud(client) else client.api_version()
    except (httpx.HTTPError, ValueError) as fault:
        raise explain(url, fault) from fault
    if not is_compatible(version, prefect.__version__):
        raise explain_version(url, version, prefect.__version__)


def _ask_patiently(client: SyncPrefectClient) -> None:
    """Do as `_ask`, but ask a server again that is slow, as when many runs start at once."""
    for _ in range(PATIENCE - 1):
        try:
            return _ask(client)
        except httpx.ReadTimeout:
            logger.info("Prefect's server takes long to answer; asking again")
    return _ask(client)


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
def _outages_logged(may_exit: bool) -> Iterator[None]:
    """Log when the server stops answering and when it is back, while the block runs."""
    over = threading.Event()
    thread = threading.Thread(
        target=copy_context().run,
        args=(_log_outages, over, may_exit),
        name="wenti server",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        # Python ends daemon threads by unwinding their stacks; in the Rust code of Prefect's client
        # this aborts the process: a successful run would end with exit code -6.
        thread.join()


def _log_outages(over: threading.Event, may_exit: bool) -> None:
    with _impatient_client() as client:
        _follow(client, over, may_exit)


def _follow(client: SyncPrefectClient, over: threading.Event, may_exit: bool) -> None:
    is_away = False
    while not over.wait(CHECK_SECONDS):
        was_away, fault = is_away, _find_fault(client)
        is_away = fault is not None
        if fault is not None and may_exit and STOPPING.is_set():
            logger.warning(GIVEN_UP, describe(fault))
            os._exit(INTERRUPTED)
        if over.is_set() or is_away == was_away:
            continue
        if fault is None:
            logger.info("Prefect's server answers again")
        else:
            logger.warning(AWAY, describe(fault))


def _find_fault(client: SyncPrefectClient) -> httpx.HTTPError | None:
    """Return why the server does not answer; None if it does."""
    try:
        _ask(client)
    except httpx.HTTPError as fault:
        return fault
    return None
