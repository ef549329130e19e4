"""The deployments of prefect.yaml in a process work pool, as described in docs/operating.md."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.config.overrides import parse_overrides
from tasks.engine.fake import FAULTS_VARIABLE
from tests.support.rehearsal import ROOT, SHARDS, Rehearsal, made_by
from tests.support.servers import PREFECT, MakeHome, PrefectServer, prefect_server
from tests.support.serving import ALLOWED, write_prefect_yaml

ENDS = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


@pytest.fixture
def server(make_prefect_home: MakeHome) -> Iterator[PrefectServer]:
    with prefect_server(make_prefect_home()) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of an operator whose runs may set what these tests set."""
    folder = tmp_path / "place"
    folder.mkdir()
    for name in ("configs", "data"):
        (folder / name).symlink_to(ROOT / name)
    write_prefect_yaml(folder, allow_overrides=[*ALLOWED])
    return folder


def prefect(server: PrefectServer, cwd: Path, *arguments: str) -> None:
    """Run a Prefect command as in a terminal, where it could prompt; a prompt makes it fail."""
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        [str(PREFECT), *arguments],
        cwd=cwd,
        env={**server.environment, "COLUMNS": "200"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        said = ""
        with suppress(OSError), open(terminal, encoding="utf-8") as screen:  # noqa: PTH123 no path
            for line in iter(lambda: screen.read(1), ""):
                said += line
                if said.endswith("[y/n]"):
                    process.kill()
    assert process.returncode == 0, said


@contextmanager
def working(server: PrefectServer, folder: Path, faults: Path) -> Iterator[psutil.Process]:
    """Run a worker of the pool, in any folder, that looks for runs every second."""
    variables = {"PREFECT_WORKER_QUERY_SECONDS": "1", FAULTS_VARIABLE: str(faults)}
    with (folder / "worker.log").open("wb") as log:
        process = psutil.Popen(
            [str(PREFECT), "worker", "start", "--pool", "wenti"],
            cwd=folder,
            env={**server.environment, **variables},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        for each in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()


def start_run(server: PrefectServer, parameters: dict[str, Any]) -> str:
    (demo,) = server.post("deployments/filter", deployments={"name": {"any_": ["demo"]}})
    run = server.post(f"deployments/{demo['id']}/create_flow_run", parameters=parameters)
    return str(run["id"])


def press(server: PrefectServer, run: str, state: str, name: str) -> None:
    """Do what a button on the run's page does."""
    server.post(f"flow_runs/{run}/set_state", state={"type": state, "name": name})


def wait_for(server: PrefectServer, run: str, state: str) -> str:
    """Wait until a run is in a state, at most until the tests' time limit."""
    while True:
        (seen,) = server.post("flow_runs/filter", flow_runs={"id": {"any_": [run]}})
        if seen["state_type"] == state:
            return str(seen["state"]["message"])
        assert seen["state_type"] not in ENDS, seen["state"]
        time.sleep(0.5)


def test_a_pool_runs_a_deployment_cancels_a_run_and_retries_one_that_failed(
    rehearsal: Rehearsal, server: PrefectServer, tmp_path: Path, place: Path
) -> None:
    faults, passages = tmp_path / "faults.json", tmp_path / "passages.jsonl"
    faults.write_text(json.dumps({"seconds_per_batch": 0.5}))
    store = rehearsal.store_without_shards(tmp_path / "store")
    at_its_place = replace(rehearsal, passages=passages)
    overrides, _no_faults = parse_overrides(at_its_place.command(store)[4::2])
    parameters = {"config": "demo", "overrides": overrides}
    prefect(server, place, "work-pool", "create", "wenti", "--type", "process")
    prefect(server, place, "deploy", "--all")

    with working(server, tmp_path, faults) as worker:
        sent = {**overrides, "aggregate": {"output_path": str(tmp_path / "written")}}
        message = wait_for(server, start_run(server, {**parameters, "overrides": sent}), "FAILED")
        assert "aggregate.output_path: a run may not set it" in message

        run = start_run(server, parameters)
        assert str(passages) in wait_for(server, run, "FAILED")

        shutil.copy(rehearsal.passages, passages)
        cancelled = start_run(server, parameters)
        while not (made := list(store.glob("predictions/*/shard-*.json"))):
            time.sleep(0.1)
        children = worker.children(recursive=True)
        assert children
        press(server, cancelled, "CANCELLING", "Cancelling")
        wait_for(server, cancelled, "CANCELLED")
        assert psutil.wait_procs(children, timeout=240)[1] == []

        faults.write_text("{}")
        press(server, run, "SCHEDULED", "AwaitingRetry")
        message = wait_for(server, run, "COMPLETED")
    (missing,) = made_by(store, ["latest"])
    assert 0 < missing <= SHARDS - len(made)
    assert message.startswith(f"reused {SHARDS - missing}, made {missing}, failed 0")
    rehearsal.check(store)
