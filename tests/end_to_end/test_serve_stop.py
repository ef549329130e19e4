"""What happens to a run when `wenti serve`, with its own server, is stopped."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psutil

from flows.run_context import STOPPED
from tasks.config.overrides import parse_overrides
from tasks.engine.fake import FAULTS_VARIABLE
from tests.support.rehearsal import Rehearsal
from tests.support.servers import PrefectServer
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


def test_a_stop_ends_the_run_says_so_and_leaves_it_to_be_retried(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    server, log, faults = PrefectServer(tmp_path / "prefect"), tmp_path / "log", tmp_path / "faults"
    faults.write_text(json.dumps({"seconds_per_batch": 0.5}))
    store = rehearsal.store_without_shards(tmp_path / "store")
    overrides, _no_faults = parse_overrides(rehearsal.command(store)[4::2])

    file = write_prefect_yaml(tmp_path, allow_overrides=[*ALLOWED])
    slowly = {FAULTS_VARIABLE: str(faults)}
    with serving(server, log, file, **slowly) as process:
        run = start_run(server, {"config": "demo", "overrides": overrides})
        wait_until(lambda: shards(store) == 1, process, log)
        stop(process, process.terminate)
    check_stopped(server, run, store, log, stops=1)

    first = server.auth
    with serving(server, log, file, **slowly) as process:
        assert server.auth == first  # generated once
        retry(server, run)
        wait_until(lambda: shards(store) > 1, process, log)
        stop(process, lambda: os.killpg(process.pid, signal.SIGINT))  # Ctrl-C in a terminal
    check_stopped(server, run, store, log, stops=2)
    assert len(list(store.glob("runs/2*"))) == 2


def shards(store: Path) -> int:
    return len(list(store.glob("predictions/*/shard-*.json")))


def stop(process: psutil.Popen, how: Callable[[], None]) -> None:
    """End `wenti serve` and check that no process is left: no run, no worker, no server."""
    children = process.children(recursive=True)
    commands = [" ".join(child.cmdline()) for child in children]
    assert any("multiprocessing.spawn" in command for command in commands)
    assert any("flows.server.protection" in command for command in commands)
    how()
    assert process.wait() == 0
    assert not any(child.is_running() for child in children)


def check_stopped(server: PrefectServer, run: str, store: Path, log: Path, stops: int) -> None:
    record = json.loads((store / "runs/newest/run.json").read_bytes())
    assert record["state"] == "interrupted"
    assert state_of(server.folder, run) == "CRASHED"
    # One state per stop, because each is an event that can trigger a notification.
    assert messages_of(server.folder, run, "CRASHED") == [STOPPED] * stops
    said = log.read_text()
    assert all(" INFO " in line for line in said.splitlines()), said
