"""Prefect's settings with our defaults, read once the environment is prepared for Prefect."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from flows.server.diagnosis import explain_settings
from flows.server.proxies import prepare_proxies
from tasks.environment import importing
from tasks.errors import ServerError

if TYPE_CHECKING:
    from prefect.settings import Settings

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


def set_defaults() -> None:
    """Set the environment variables that Prefect and its client read.

    Raises:
        ServerError: Prefect cannot be imported, because it cannot look into its folder.
    """
    prepare_proxies()
    _require_home()
    for name, value in PREFECT_DEFAULTS.items():
        os.environ.setdefault(name, value)


def read_settings() -> Settings:
    """Return Prefect's settings with our defaults.

    Raises:
        ServerError: a setting has a value that it cannot have.
    """
    set_defaults()
    printed = StringIO()  # Prefect also prints the fault
    try:
        with redirect_stderr(printed), importing():
            from prefect.settings import get_current_settings

            settings = get_current_settings()
    except ValueError as error:
        raise explain_settings(error) from error
    sys.stderr.write(printed.getvalue())
    return settings


@contextmanager
def few_retries(retries: int) -> Iterator[None]:
    """Let Prefect's clients repeat a request at most `retries` times in the block."""
    with changed("client", max_retries=retries):
        yield


@contextmanager
def changed(section: str, **values: object) -> Iterator[None]:
    """Let settings of a section have other values in the block, of the types that they have.

    `temporary_settings` would read and check all settings again, which takes 50 ms.
    """
    from prefect.context import SettingsContext, get_settings_context

    context = get_settings_context()
    part = getattr(context.settings, section).model_copy(update=values)
    settings = context.settings.model_copy(update={section: part})
    with SettingsContext(profile=context.profile, settings=settings):
        yield


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
