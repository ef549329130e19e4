"""Real Prefect servers in processes that tests start, stop, kill and restart."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.rehearsal import WENTI, outside_environment

MakeHome = Callable[[], Path]
DATABASE = "prefect.db"
PREFECT = WENTI.with_name("prefect")
STOPPING_TAKES = 30  # seconds until a server that was asked to stop is killed


def free_port() -> int:
    """Return a TCP port of the loopback interface on which nothing listens."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return different TCP ports of the loopback interface on which nothing listens."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


@dataclass
class PrefectServer:
    """A `prefect server start` with its own PREFECT_HOME.

    Attributes:
        folder: PREFECT_HOME; its output is in server.log there.
        options: of `prefect server start`.
        variables: further environment variables, such as the database.
        auth: `user:password` that it requires; None for no authentication.
        port: on which it listens, also after a restart.
    """

    folder: Path
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    auth: str | None = None
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """PREFECT_API_URL of its clients."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user's program that uses this server."""
        secret = {} if self.auth is None else {"PREFECT_API_AUTH_STRING": self.auth}
        return {**outside_environment(self.url, self.folder), **secret}

    @property
    def log(self) -> str:
        """Its output since it was first started."""
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped or killed since."""
        return self._process is not None

    def post(self, path: str, **content: object) -> Any:  # noqa: ANN401 what the path gives
        """Call its API without Prefect's client, as in `post("flow_runs/filter")`."""
        headers = {"Content-Type": "application/json"}
        if self.auth is not None:
            token = base64.b64encode(self.auth.encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        body = json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}/{path}", body, headers)  # noqa: S310 our own
        while True:  # until the time limit of every test
            try:
                with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310 our own
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:  # its SQLite is busy
                    raise
            time.sleep(0.5)

    def start(self) -> None:
        """Start it, always on the same port, and wait until it answers."""
        assert self._process is None, "already started"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(PREFECT), "server", "start", "--port", str(self.port), *self.options],
                env=self._own_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_healthy(self._process)

    def stop(self) -> None:
        """Terminate it, as a service manager does."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, as a power cut does."""
        self._signal(signal.SIGKILL)

    def _own_environment(self) -> dict[str, str]:
        secret = {} if self.auth is None else {"PREFECT_SERVER_API_AUTH_STRING": self.auth}
        quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        return {**outside_environment(self.url, self.folder), **quiet, **secret, **self.variables}

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            with (
                suppress(OSError),
                urllib.request.urlopen(f"{self.url}/health", timeout=5),  # noqa: S310 our own
            ):
                return
            time.sleep(0.2)
        self._process = None
        raise AssertionError(f"the server ended:\n{self.log[-4000:]}")

    def _signal(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for each in (number, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, each)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOPPING_TAKES)
                return


def make_home(folder: Path) -> None:
    """Make a PREFECT_HOME with a complete SQLite database, which takes most of a first start."""
    server = PrefectServer(folder)
    server.start()
    server.stop()


def copy_home(home: Path, folder: Path, database: str = DATABASE) -> None:
    """Copy what a server that was stopped has left, with another name for the database."""
    shutil.copy(home / "memo_store.toml", folder)
    for file in home.glob(f"{DATABASE}*"):
        shutil.copy(file, folder / file.name.replace(DATABASE, database))


@contextmanager
def prefect_server(
    folder: Path,
    *,
    ui: bool = False,
    auth: str | None = None,
    database: str | None = None,
    **variables: str,
) -> Iterator[PrefectServer]:
    """Run a server during the block; it answers when the block begins.

    Args:
        folder: PREFECT_HOME.
        ui: whether to serve the web pages too.
        auth: `user:password` that it requires.
        database: SQLAlchemy URL of a PostgreSQL database; None for SQLite in its folder.
        variables: further environment variables.
    """
    if database is not None:
        variables["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    server = PrefectServer(folder, ("--ui" if ui else "--no-ui",), variables, auth)
    try:
        server.start()
        yield server
    finally:
        server.kill()
