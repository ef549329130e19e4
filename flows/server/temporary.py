"""Prefect's temporary server: its API on a free port of this machine, for one run.

It is a process of our own instead of Prefect's `SubprocessASGIServer`, which is left behind when it
does not answer or its client fails, and which the signals that end a run by its process group
(`timeout`, systemd, Ctrl-C) end first, so that the run cannot report its end.

The two processes share a socket: the server reports its port by it, and ends when its parent closes
it, or dies.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tasks.environment import importing
from tasks.errors import ServerError

if TYPE_CHECKING:
    import uvicorn

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


class TemporaryServer:
    """The process, and the parent's end of the socket; ended by `stop` or with this process."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        self._messages = os.memfd_create("messages")  # the disk may be full
        command = [sys.executable, "-P", "-m", "flows.server.temporary"]
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            with theirs:
                self.process = subprocess.Popen(  # noqa: S603 a command of our own
                    command,
                    env={**os.environ, **SERVER_VARIABLES, **variables},
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=self._messages,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
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


def serve(parent: socket.socket) -> None:
    """Serve Prefect's API, send the port to `parent`, and return when that is closed."""
    import uvicorn

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
