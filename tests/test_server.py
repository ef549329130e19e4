from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.engine.fake import FAULTS_VARIABLE
from tests.rehearsal import WENTI, Rehearsal, made_by, outside_environment


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310 our own
            return
        time.sleep(0.2)
    raise AssertionError("the server ended")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """A Prefect server of the test's own, and the environment of a program that talks to it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = outside_environment(url, tmp_path / "prefect")
    command = [str(WENTI.with_name("prefect")), "server", "start", "--no-ui", "--port", str(port)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    ) as server:
        wait_until_healthy(url, server)
        yield server, environment
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def test_a_server_that_is_killed_costs_no_shard_and_is_named(
    rehearsal: Rehearsal,
    tmp_path: Path,
    own_server: tuple[subprocess.Popen[bytes], dict[str, str]],
) -> None:
    server, environment = own_server
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"seconds_per_batch": 0.3}))
    # Prefect's own five tries at telling the server take minutes.
    variables = {FAULTS_VARIABLE: str(faults), "PREFECT_CLIENT_MAX_RETRIES": "0"}
    store = rehearsal.store_without_shards(tmp_path / "store")
    there = replace(rehearsal, environment=environment)
    with there.start(store, **variables) as process:
        while not list(store.glob("predictions/*/shard-*.json")):
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(server.pid, signal.SIGKILL)
        messages = process.communicate(timeout=300)[1]
    assert process.returncode == 2
    assert "Prefect's server went away" in messages
    assert "Traceback" not in messages
    rehearsal.check(store)  # the results were written all the same

    code, messages = rehearsal.run(store)
    assert code == 0, messages
    assert made_by(store, ["latest"]) == [0]
    rehearsal.check(store)


def test_a_server_that_is_not_there_is_named_before_anything_is_made(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    nowhere = replace(rehearsal, environment={**rehearsal.environment, "PREFECT_API_URL": url})
    code, messages = nowhere.run(tmp_path / "store")
    assert code == 2
    assert url in messages
    assert "Traceback" not in messages
    assert not (tmp_path / "store").exists()
