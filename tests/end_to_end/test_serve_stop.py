"""What happens to a run when `wenti serve`, with its own server, is stopped."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from flows.run_context import Stop
from tasks.config.overrides import parse_overrides
from tasks.engine.fake import FAULTS_VARIABLE
from tests.support.rehearsal import Rehearsal
from tests.support.servers import MakeHome, PrefectServer
from tests.support.serving import ALLOWED, serving, wait_until, write_prefect_yaml


def start_run(server: PrefectServer, parameters: dict[str, object]) -> str:
    (deployment,) = server.post("deployments/filter")
    run = server.post(f"deployments/{deployment['id']}/create_flow_run", parameters=parameters)
    return str(run["id"])


def retry(server: PrefectServer, run: str) -> None:
    """Do what *Retry* in the UI does."""
    state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
    server.post(f"flow_runs/{run}/set_state", state=state)


def messages_of(home: Path, run: str, kind: str) -> list[str]:
    """Return the messages of a run's states of a type, from the database of a stopped server."""
    query = """
        select message from flow_run_state where flow_run_id = ? and type = ? order by timestamp
    """
    with sqlite3.connect(home / "prefect.db") as database:
        messages = [message for (message,) in database.execute(query, [run, kind])]
    database.close()
    return messages


def state_of(home: Path, run: str) -> str:
    with sqlite3.connect(home / "prefect.db") as database:
        ((state,),) = database.execute("select state_type from flow_run where id = ?", [run])
    database.close()
    return str(state)


@dataclass
class Place:
    """A job for `wenti serve demo`: its server, its store, what it has logged."""

    server: PrefectServer
    store: Path
    log: Path
    file: Path
    faults: Path
    overrides: dict[str, dict[str, object]]

    def serving(self) -> AbstractContextManager[psutil.Popen]:
        slowly = {FAULTS_VARIABLE: str(self.faults)}
        return serving(self.server, self.log, self.file, **slowly)

    @property
    def record(self) -> dict[str, object]:
        return dict(json.loads((self.store / "runs/newest/run.json").read_bytes()))

    def lines(self) -> list[str]:
        """Return the log lines without their times."""
        return [line.split(" ", 2)[2] for line in self.log.read_text().splitlines()]


@pytest.fixture
def place(rehearsal: Rehearsal, make_prefect_home: MakeHome, tmp_path: Path) -> Place:
    faults = tmp_path / "faults"
    faults.write_text(json.dumps({"seconds_per_batch": 0.5}))
    store = rehearsal.store_without_shards(tmp_path / "store")
    overrides, _no_faults = parse_overrides(rehearsal.command(store)[4::2])
    server = PrefectServer(make_prefect_home())
    file = write_prefect_yaml(tmp_path, allow_overrides=[*ALLOWED])
    return Place(server, store, tmp_path / "log", file, faults, overrides)


def test_a_stop_ends_the_run_says_so_and_leaves_it_to_be_retried(place: Place) -> None:
    with place.serving() as process:
        run = start_run(place.server, {"config": "demo", "overrides": place.overrides})
        wait_until(lambda: shards(place.store) == 1, process, place.log)
        stop(process, process.terminate)
    check_stopped(place, run, stops=1)

    first = place.server.auth
    with place.serving() as process:
        assert place.server.auth == first  # generated once
        retry(place.server, run)
        wait_until(lambda: shards(place.store) > 1, process, place.log)
        stop(process, lambda: os.killpg(process.pid, signal.SIGINT))  # Ctrl-C in a terminal
    check_stopped(place, run, stops=2)
    assert len(list(place.store.glob("runs/2*"))) == 2


def test_what_stopped_a_run_is_told_and_recorded_even_if_the_server_is_away(place: Place) -> None:
    with place.serving() as process:
        run = start_run(place.server, {"config": "demo", "overrides": place.overrides})
        wait_until(lambda: shards(place.store) == 1, process, place.log)
        find_child(process, "prefect.engine").terminate()
        ended = f"/{run[-4:]} ended: Crashed: {Stop.SIGNAL.message}"
        wait_until(lambda: ended in place.log.read_text(), process, place.log)
        assert (place.record["state"], place.record["error"]) == ("interrupted", Stop.SIGNAL)

        retry(place.server, run)
        wait_until(lambda: shards(place.store) > 1, process, place.log)
        find_child(process, "flows.server.protection").kill()
        process.terminate()
        assert process.wait() == 0
    assert (place.record["state"], place.record["error"]) == ("interrupted", Stop.SERVE)
    assert "Prefect's server does not answer" in place.log.read_text()


def find_child(process: psutil.Popen, command: str) -> psutil.Process:
    (child,) = [
        one for one in process.children(recursive=True) if command in " ".join(one.cmdline())
    ]
    return child


def shards(store: Path) -> int:
    return len(list(store.glob("predictions/*/shard-*.json")))


def stop(process: psutil.Popen, how: Callable[[], None]) -> None:
    """End `wenti serve` and check that no process is left: no run, no worker, no server.

    A worker whose run had to be killed notices it within a second and ends itself.
    """
    children = process.children(recursive=True)
    commands = [" ".join(child.cmdline()) for child in children]
    assert any("multiprocessing.spawn" in command for command in commands)
    assert any("flows.server.protection" in command for command in commands)
    how()
    assert process.wait() == 0
    assert psutil.wait_procs(children, timeout=240)[1] == []


def check_stopped(place: Place, run: str, stops: int) -> None:
    assert (place.record["state"], place.record["error"]) == ("interrupted", Stop.SERVE)
    home = place.server.folder
    assert state_of(home, run) == "CRASHED"
    # One state per stop, because each is an event that can trigger a notification.
    assert messages_of(home, run, "CRASHED") == [Stop.SERVE.message] * stops
    lines = place.lines()
    assert all(line.startswith("INFO ") for line in lines), lines
    told = [line.partition(f"/{run[-4:]} ")[2] for line in lines if f"/{run[-4:]} " in line]
    assert told == ["started", f"ended: Crashed: {Stop.SERVE.message}"]
