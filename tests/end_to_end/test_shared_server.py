"""A server for several runs, on PostgreSQL with authentication, that is killed and restarted."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.engine.fake import FAULTS_VARIABLE
from tests.support.postgres import Postgres, find_binaries, postgres
from tests.support.rehearsal import SHARDS, Rehearsal, made_by
from tests.support.servers import PrefectServer, prefect_server

SECRET = "wenti:green-cucumbers"  # noqa: S105 of a server that lives for seconds


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres(binaries) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def one_server(
    database: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrefectServer]:
    folder = tmp_path_factory.mktemp("prefect")
    with prefect_server(folder, auth=SECRET, database=database.url) as server:
        yield server


@pytest.fixture
def server(one_server: PrefectServer) -> PrefectServer:
    """The server of these tests, restarted if the previous test has killed it."""
    if not one_server.is_running:
        one_server.start()
    return one_server


@pytest.fixture
def shared(rehearsal: Rehearsal, server: PrefectServer) -> Rehearsal:
    """The job, run with this server; the undisturbed run used another one, on SQLite."""
    return replace(rehearsal, environment=server.environment)


@pytest.fixture
def slowly(tmp_path: Path) -> dict[str, str]:
    """The environment of a slow engine, so that the server can be killed during the run."""
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"seconds_per_batch": 0.3}))
    return {FAULTS_VARIABLE: str(path)}


def shards_made(store: Path) -> list[int]:
    """Return the shards that the newest run has made, one entry per time, from its journal."""
    path = store / "runs/newest/shards.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [event["shard"] for event in events if event["event"] == "made"]


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def newest_state(server: PrefectServer) -> str:
    newest = server.post("flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=1)
    return str(newest[0]["state_type"])


def test_runs_at_the_same_time_share_a_server_on_postgresql(
    shared: Rehearsal, database: Postgres, tmp_path: Path, slowly: dict[str, str]
) -> None:
    store = shared.store_without_shards(tmp_path / "store")
    processes = [shared.start(store, **slowly) for _ in range(2)]
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    runs = [path.name for path in store.glob("runs/2*")]
    assert sum(made_by(store, runs)) == SHARDS
    for run in runs:
        shared.check(store, run)
    states = database.query("select state_type from flow_run order by created desc limit 2")
    assert states == ["COMPLETED", "COMPLETED"]


@pytest.mark.parametrize("secret", [None, "wenti:red-beets"])
def test_without_the_servers_secret_a_run_is_refused_before_anything_is_made(
    shared: Rehearsal, server: PrefectServer, tmp_path: Path, secret: str | None
) -> None:
    environment = dict(shared.environment)
    del environment["PREFECT_API_AUTH_STRING"]
    if secret is not None:
        environment["PREFECT_API_AUTH_STRING"] = secret
    code, messages = replace(shared, environment=environment).run(tmp_path / "store")
    assert code == 2
    assert "set PREFECT_API_AUTH_STRING" in messages
    assert server.url in messages
    assert "Traceback" not in messages
    assert not any(one in messages for one in ("cucumbers", "beets"))
    assert not (tmp_path / "store").exists()


def test_shards_go_on_while_the_server_is_away_and_the_run_completes_when_it_is_back(
    shared: Rehearsal, server: PrefectServer, tmp_path: Path, slowly: dict[str, str]
) -> None:
    store = shared.store_without_shards(tmp_path / "store")
    with shared.start(store, **slowly) as process:
        wait_until(lambda: len(shards_made(store)) > 0, process)
        server.kill()
        before = len(shards_made(store))
        try:
            wait_until(lambda: len(shards_made(store)) > before + 1, process)
        finally:
            server.start()
        messages = process.communicate(timeout=600)[1]
    assert process.returncode == 0, messages
    assert sorted(shards_made(store)) == list(range(SHARDS))
    shared.check(store)
    assert newest_state(server) == "COMPLETED"
    assert "Prefect's server does not answer" in messages
    assert "Traceback" not in messages


def test_a_server_that_stays_away_costs_no_shard_and_is_named(
    rehearsal: Rehearsal,
    shared: Rehearsal,
    server: PrefectServer,
    tmp_path: Path,
    slowly: dict[str, str],
) -> None:
    store = shared.store_without_shards(tmp_path / "store")
    # By our own defaults, the run would wait some minutes for the server.
    with shared.start(store, **slowly, PREFECT_CLIENT_MAX_RETRIES="0") as process:
        wait_until(lambda: len(shards_made(store)) > 0, process)
        server.kill()
        messages = process.communicate(timeout=600)[1]
    assert process.returncode == 2
    assert "Prefect's server went away" in messages
    assert "Traceback" not in messages
    shared.check(store)  # the results were still written

    code, messages = rehearsal.run(store)
    assert code == 0, messages
    assert made_by(store, ["latest"]) == [0]
    rehearsal.check(store)
