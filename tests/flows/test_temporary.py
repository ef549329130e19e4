"""The temporary server: which requests it answers, and a database that fails."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import psutil
import pytest

from flows.server.temporary import server as temporary
from flows.server.temporary.fork import Fork
from flows.server.temporary.server import TemporaryServer
from tasks.errors import ServerError

SPAWN = multiprocessing.get_context("spawn")
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
        assert httpx.get(url, timeout=600.0).is_success
        for header in ({"host": "evil.example"}, {"origin": "http://127.0.0.1:4200"}):
            assert httpx.get(url, headers=header, timeout=600.0).status_code == 403
    finally:
        server.stop()


def test_a_server_that_cannot_start_says_why() -> None:
    server = TemporaryServer({DATABASE: "nonsense"})
    with pytest.raises(ServerError, match="ended at its start") as caught:
        server.port(600.0)
    assert "Error" in caught.value.problem
    assert not psutil.pid_exists(server.process.pid)


def start(variables: dict[str, str], report: Connection, is_forked: bool) -> None:
    if is_forked:
        temporary.fork_early()
    server = TemporaryServer(variables)
    assert isinstance(server.process, Fork) == is_forked
    report.send(server.process.pid)
    threading.Event().wait()


@pytest.mark.parametrize("is_forked", [False, True])
def test_a_server_does_not_outlive_a_killed_parent(silent: dict[str, str], is_forked: bool) -> None:
    ours, theirs = multiprocessing.Pipe()
    parent = SPAWN.Process(target=start, args=(silent, theirs, is_forked))
    parent.start()
    theirs.close()  # if the parent fails, nothing is received
    server = psutil.Process(ours.recv())
    parent.kill()
    parent.join()
    gone, _alive = psutil.wait_procs([server], timeout=600)
    assert gone == [server]


def in_new_process(target: Callable[[], None]) -> None:
    """Call a function in a Python of its own, which has a single thread, unlike this one."""
    process = SPAWN.Process(target=target)
    process.start()
    process.join()
    assert process.exitcode == 0


def answer_by_fork(home: Path) -> None:
    temporary.fork_early()
    threading.Thread(target=threading.Event().wait, daemon=True).start()  # from now on
    server = TemporaryServer({"PREFECT_HOME": str(home)})
    assert isinstance(server.process, Fork)
    api = f"http://127.0.0.1:{server.port(600.0)}/api"
    assert (home / "prefect.db").exists()
    pages = [httpx.get(f"{api}{path}", timeout=600.0) for path in ("/admin/version", "/no")]
    assert [page.status_code for page in pages] == [200, 404]
    server.stop()
    assert server.process.poll() is not None


def test_a_forked_server_has_the_settings_that_it_is_given(tmp_path: Path) -> None:
    in_new_process(partial(answer_by_fork, tmp_path))


def end_though_signals_of_children_are_ignored() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    temporary.fork_early()
    temporary.end_early()


def test_a_fork_ends_though_the_kernel_keeps_no_exit_codes() -> None:
    in_new_process(end_though_signals_of_children_are_ignored)


def fail_in_fork() -> None:
    temporary.fork_early()
    server = TemporaryServer({DATABASE: "nonsense"})
    with pytest.raises(ServerError, match="ended at its start") as caught:
        server.port(600.0)
    assert "Error" in caught.value.problem
    assert not psutil.pid_exists(server.process.pid)


def test_a_forked_server_that_cannot_start_says_why() -> None:
    in_new_process(fail_in_fork)


def look_at_waiting() -> None:
    read_end, _write_end = os.pipe()
    temporary.fork_early()
    (waiting,) = psutil.Process().children()
    while waiting.name() != temporary.NAME:  # it is the last that it does before it waits
        time.sleep(0.01)
    assert waiting.num_threads() == 1
    targets = {Path(name).readlink() for name in Path(f"/proc/{waiting.pid}/fd").iterdir()}
    assert Path(f"/proc/self/fd/{read_end}").readlink() not in targets
    for number in temporary.SIGNALS:
        waiting.send_signal(number)
    assert waiting.is_running()
    temporary.end_early()
    assert not waiting.is_running()


def test_what_was_forked_early_outlives_signals_and_is_ended_if_nothing_needs_it() -> None:
    in_new_process(look_at_waiting)


def refuse_to_fork() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    temporary.fork_early()
    assert psutil.Process().children() == []


def test_a_process_with_another_thread_is_not_forked() -> None:
    in_new_process(refuse_to_fork)


def test_nothing_is_forked_if_a_server_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    in_new_process(fork_nothing)


def fork_nothing() -> None:
    temporary.fork_early()
    assert psutil.Process().children() == []
