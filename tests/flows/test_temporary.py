"""The temporary server: which requests it answers, and a database that fails."""

from __future__ import annotations

import multiprocessing
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import psutil
import pytest

from flows.server.temporary import TemporaryServer
from tasks.errors import ServerError

DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


@pytest.fixture
def silent() -> Iterator[dict[str, str]]:
    """Variables that name a database which accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        yield {DATABASE: f"postgresql+asyncpg://u:p@127.0.0.1:{port}/db"}


def test_a_server_that_does_not_answer_is_ended(silent: dict[str, str]) -> None:
    server = TemporaryServer(silent)
    with pytest.raises(ServerError, match="did not answer within 1 s") as caught:
        server.port(1.0)
    assert "STARTUP_TIMEOUT_SECONDS" in caught.value.remedy
    assert not psutil.pid_exists(server.process.pid)


def test_a_server_answers_no_web_page_and_no_other_name(tmp_path: Path) -> None:
    server = TemporaryServer({"PREFECT_HOME": str(tmp_path)})
    try:
        url = f"http://127.0.0.1:{server.port(600.0)}/api/admin/version"
        assert httpx.get(url).is_success
        for header in ({"host": "evil.example"}, {"origin": "http://127.0.0.1:4200"}):
            assert httpx.get(url, headers=header).status_code == 403
    finally:
        server.stop()


def test_a_server_that_cannot_start_says_why() -> None:
    server = TemporaryServer({DATABASE: "nonsense"})
    with pytest.raises(ServerError, match="ended at its start") as caught:
        server.port(600.0)
    assert "Error" in caught.value.problem
    assert not psutil.pid_exists(server.process.pid)


def start(variables: dict[str, str], report: Connection) -> None:
    server = TemporaryServer(variables)
    report.send(server.process.pid)
    threading.Event().wait()


def test_a_server_does_not_outlive_a_killed_parent(silent: dict[str, str]) -> None:
    ours, theirs = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    parent = spawn.Process(target=start, args=(silent, theirs))
    parent.start()
    server = psutil.Process(ours.recv())
    parent.kill()
    parent.join()
    gone, _alive = psutil.wait_procs([server], timeout=600)
    assert gone == [server]
