"""What the caller of a flow receives when the server's answer to the last state is lost."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prefect.exceptions import FailedRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.outcome import outcome_of
from flows.question_generation import question_generation
from tasks.errors import ConfigError
from tests.support.commands import RunFlow

FINAL = re.compile(rb'"type": ?"(FAILED|COMPLETED)"')


class LossyServer(socketserver.ThreadingTCPServer):
    """Forwards connections to a server, but loses its first answer to the report of a final state.

    Attributes:
        target: address of the server.
        lost: number of answers that were lost.
    """

    daemon_threads = True

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target = target
        self.lost = 0


class _Connection(socketserver.BaseRequestHandler):
    request: socket.socket
    server: LossyServer

    def handle(self) -> None:
        with socket.create_connection(self.server.target) as self.behind:
            self.is_final = False
            asking = threading.Thread(target=self.pump, args=(self.request, self.behind))
            asking.start()
            self.pump(self.behind, self.request)
            asking.join()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(1 << 20):
                if source is self.request:
                    self.is_final |= not self.server.lost and bool(FINAL.search(chunk))
                elif self.is_final:
                    self.server.lost += 1
                    break
                sink.sendall(chunk)
        for end in (source, sink):  # ends the other thread, too
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def lossy(url: str) -> Iterator[LossyServer]:
    """Let Prefect's client reach its server through a `LossyServer`."""
    real = urlsplit(url)
    server = LossyServer((str(real.hostname), int(real.port or 0)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host, port = server.server_address[:2]
    try:
        with temporary_settings(
            {PREFECT_API_URL: real._replace(netloc=f"{host!s}:{port}").geturl()}
        ):
            yield server
    finally:
        server.shutdown()
        server.socket.close()  # `server_close` would wait for connections that Prefect keeps


def test_an_error_is_raised_as_it_is(server_url: str, tmp_path: Path) -> None:
    config = str(tmp_path / "nowhere.yaml")
    with lossy(server_url) as server, pytest.raises(ConfigError, match="no such file"):
        outcome_of(lambda: question_generation(config))
    assert server.lost == 1
    with lossy(server_url), pytest.raises(FailedRun):  # as Prefect alone has it
        question_generation(config)


def test_a_result_is_returned_as_it_is(server_url: str, run_demo: RunFlow, tmp_path: Path) -> None:
    few = ("export.engine=fake", "dataset.limit=5")
    with lossy(server_url) as server:
        result = outcome_of(lambda: run_demo(tmp_path / "store", *few))
    assert server.lost == 1
    assert result["metrics"]["predictions"] == 5


def test_a_flow_that_was_not_reached_raises_what_prefect_raises() -> None:
    def fail() -> dict[str, object]:
        raise FailedRun("the parameters are not valid")

    with pytest.raises(FailedRun):
        outcome_of(fail)
