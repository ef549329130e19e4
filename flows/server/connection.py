"""The Prefect server of a run: the configured one, that of `wenti serve`, or a temporary one."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from contextvars import copy_context
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from flows.server.access import Access, configured_access, new_secret, possible_servers
from flows.server.diagnosis import (
    describe,
    explain,
    explain_settings,
    explain_version,
    is_compatible,
)
from flows.server.proxies import prepare_proxies, require_proxy
from flows.server.temporary import TemporaryServer
from tasks.environment import is_writable
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
GIVEN_UP = (
    "stopped; finished work is kept, and the same command continues; Prefect's server does not "
    "answer (%s), and will still show the run as Running"
)
INTERRUPTED = 130  # exit code
HOME = "PREFECT_HOME"

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


STOPPING = threading.Event()
"""Set when a run has recorded that it is stopped: it no longer waits for a server that is away."""


def set_defaults() -> None:
    """Set the environment variables that Prefect and its client read.

    Raises:
        ServerError: Prefect cannot be imported, because it cannot look into its folder.
    """
    prepare_proxies()
    _require_home()
    for name, value in PREFECT_DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def connected() -> Iterator[None]:
    """Import Prefect with our defaults and provide a server while the block runs.

    Raises:
        ServerError: the server cannot be used at the start or at the end of the block.
    """
    try:
        with _server(), _outages_logged():
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


def read_settings() -> Settings:
    """Return Prefect's settings with our defaults.

    Raises:
        ServerError: a setting has a value that it cannot have.
    """
    set_defaults()
    printed = StringIO()  # Prefect also prints the fault
    try:
        with redirect_stderr(printed):
            from prefect.settings import get_current_settings

            settings = get_current_settings()
    except ValueError as error:
        raise explain_settings(error) from error
    sys.stderr.write(printed.getvalue())
    return settings


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


def _require_home() -> None:
    """Require a folder that Prefect can look into, which it does when it is imported."""
    remedy = f"set {HOME}, or HOME, to a folder of this user"
    try:
        home = Path.home()
    except RuntimeError:
        raise ServerError("HOME is not set, and this user has no home", "set HOME") from None
    folder = Path(os.environ.get(HOME) or home / ".prefect")
    try:
        (folder / "profiles.toml").exists()
    except OSError as error:
        raise ServerError(f"Prefect cannot read {folder}: {error.strerror}", remedy) from error


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
        with found.used():
            yield
        return
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_SERVER_API_AUTH_STRING,
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
        get_current_settings,
        temporary_settings,
    )

    logger.info("starting Prefect's temporary server; that takes some seconds")
    secret = new_secret()
    closed = {PREFECT_SERVER_API_AUTH_STRING: secret, PREFECT_SERVER_CORS_ALLOWED_ORIGINS: ""}
    with temporary_settings({**closed, PREFECT_API_AUTH_STRING: secret}):
        _start_server(get_current_settings())
        yield


def _start_server(settings: Settings) -> None:
    """Start a temporary server for Prefect's clients in this process."""
    from prefect.server.api.server import SubprocessASGIServer

    ours = TemporaryServer(settings.to_environment_variables(exclude_unset=True))
    port = ours.port(settings.server.ephemeral.startup_timeout_seconds)
    # The clients ask this object for the address; as it is running, they start no other.
    theirs = SubprocessASGIServer()
    theirs.port, theirs.server_process, theirs.running = port, ours.process, True


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
    thread = threading.Thread(
        target=copy_context().run, args=(_log_outages, over), name="wenti server", daemon=True
    )
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
        if fault is not None and STOPPING.is_set():
            logger.warning(GIVEN_UP, describe(fault))
            os._exit(INTERRUPTED)
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
