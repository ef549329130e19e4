"""Prefect's temporary server: its API on a free port of this machine, for one run.

It is a process of our own instead of Prefect's `SubprocessASGIServer`, which is left behind when it
does not answer or its client fails, and which the signals that end a run by its process group
(`timeout`, systemd, Ctrl-C) end first, so that the run cannot report its end.

The two processes share a socket: the server reports its port by it, and ends when its parent closes
it, or dies.

Parent and server both need Prefect's client, which takes 0.9 s of CPU to import. A command that may
need a server calls `fork_early`: it imports the client and forks a process, which waits until it is
told to be the server. Elsewhere, as in a notebook, the server is a Python of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from flows.server.settings import read_settings
from flows.server.temporary.fork import Fork, can_fork
from tasks.environment import importing
from tasks.errors import ServerError
from tasks.processes import show_name

if TYPE_CHECKING:
    import uvicorn

NAME = "prefect server"
STOP_SECONDS = 5.0
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Blocked in the server; a process inherits the blocked signals of the thread that starts it."""

SERVER_VARIABLES = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",  # for the message if it cannot start
}
PORT = "PREFECT_SERVER_API_PORT"
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")
RUNNING = "set PREFECT_API_URL to use a running server"


class _Started(NamedTuple):
    """A process that has been started, and what the parent has of it.

    Attributes:
        process: it.
        socket: the parent's end.
        messages: descriptor of the file with its standard error; not on a disk, which may be full.
    """

    process: subprocess.Popen[bytes] | Fork
    socket: socket.socket
    messages: int


_waiting: list[_Started] = []
"""What `fork_early` has forked and `TemporaryServer` has not taken."""


def fork_early() -> None:
    """Fork a process that may become the temporary server, unless one is configured already.

    To be called before other threads are started, and before what only the parent is to import.

    Raises:
        ServerError: a setting of Prefect has a value that it cannot have.
    """
    if not read_settings().api.url and can_fork():
        _waiting.append(_start(_fork))


def end_early() -> None:
    """End what `fork_early` has forked, because nothing needs it."""
    while _waiting:
        started = _waiting.pop()
        started.socket.close()
        started.process.wait()


class TemporaryServer:
    """The process, and the parent's end of the socket; ended by `stop` or with this process."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        given = {**SERVER_VARIABLES, **variables}
        if _waiting:
            started = _waiting.pop()
            with suppress(OSError):  # it has ended: `port` says so
                started.socket.sendall(json.dumps(given).encode() + b"\n")
        else:
            started = _start(lambda theirs, messages: _spawn(theirs, messages, given))
        self.process, self._socket, self._messages = started
        atexit.register(self.stop)

    def port(self, seconds: float) -> int:
        """Return the port of the server once it answers; it is stopped if this fails.

        Raises:
            ServerError: it did not start within `seconds`.
        """
        try:
            self._socket.settimeout(seconds)
            return int(self._socket.recv(8))
        except TimeoutError:
            problem = f"Prefect's temporary server did not answer within {seconds:.0f} s"
            longer = "allow more by PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
            raise self._failed(problem, f"{longer}, or {RUNNING}") from None
        except (OSError, ValueError):  # no number: the socket was closed
            problem = f"Prefect's temporary server ended at its start ({self._last_error()})"
            raise self._failed(problem, f"correct its PREFECT_ variables, or {RUNNING}") from None
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server; at last by SIGKILL."""
        self._socket.close()
        try:
            self.process.wait(STOP_SECONDS + 1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _failed(self, problem: str, remedy: str) -> ServerError:
        self.process.kill()
        self.stop()
        return ServerError(problem, remedy)

    def _last_error(self) -> str:
        """Return the last line with an error that the server has printed, or its last line."""
        with os.fdopen(os.dup(self._messages), encoding="utf-8", errors="backslashreplace") as file:
            file.seek(0)
            lines = [line.strip() for line in file if line.strip()]
        errors = [line for line in lines if _ERROR.match(line)]
        return (errors or lines or ["it printed no message"])[-1]


def _start(run: Callable[[socket.socket, int], subprocess.Popen[bytes] | Fork]) -> _Started:
    """Start a process by `run`, which gets the server's end of the socket and the messages."""
    ours, theirs = socket.socketpair()
    messages = os.memfd_create("messages")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with theirs:
            return _Started(run(theirs, messages), ours, messages)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _spawn(
    theirs: socket.socket, messages: int, variables: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "flows.server.temporary.server"],
        env={**os.environ, **variables},
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=messages,
    )


def _fork(theirs: socket.socket, messages: int) -> Fork:
    with open(os.devnull, "r+b") as nowhere:  # noqa: PTH123 as a descriptor
        streams = (nowhere.fileno(), nowhere.fileno(), messages)
        return Fork(lambda: _wait_to_serve(theirs), streams, [theirs.fileno()])


def _wait_to_serve(parent: socket.socket) -> None:
    """Serve with the variables that the parent sends; return if it closes its end instead."""
    show_name(NAME)
    sent = b""
    while not sent.endswith(b"\n"):
        if not (part := parent.recv(1 << 16)):
            return
        sent += part
    os.environ.update(json.loads(sent))

    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()  # reads the variables
    serve(parent)


def serve(parent: socket.socket) -> None:
    """Serve Prefect's API, send the port to `parent`, and return when that is closed."""
    import uvicorn

    show_name(NAME)
    listener = socket.create_server(("127.0.0.1", 0))
    os.environ[PORT] = str(listener.getsockname()[1])  # of which the pages are this server's own
    config = uvicorn.Config(
        "flows.server.protection:create_app", factory=True, log_level="error", lifespan="on"
    )
    server = uvicorn.Server(config)
    for follow in (_report, _end_with):
        threading.Thread(target=follow, args=(server, parent, listener), daemon=True).start()
    server.run(sockets=[listener])


def _report(server: uvicorn.Server, parent: socket.socket, listener: socket.socket) -> None:
    with importing():  # uvicorn imports the server in the other thread
        while not server.started:
            time.sleep(0.05)
    parent.sendall(str(listener.getsockname()[1]).encode())


def _end_with(server: uvicorn.Server, parent: socket.socket, _listener: socket.socket) -> None:
    parent.recv(1)
    server.should_exit = True
    time.sleep(STOP_SECONDS)  # it waits for open connections, and does not look while it starts
    os._exit(1)


if __name__ == "__main__":
    serve(socket.socket(fileno=sys.stdin.fileno()))
