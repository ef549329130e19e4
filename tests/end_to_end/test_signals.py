from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tasks.engine.fake import FAULTS_VARIABLE
from tests.support.disturbances import list_digests
from tests.support.rehearsal import ROOT, WENTI, Rehearsal
from tests.support.servers import MakeHome

DEMO = ROOT / "configs/demo.yaml"


@pytest.fixture(scope="module")
def environment(make_prefect_home: MakeHome) -> dict[str, str]:
    """An environment in which `wenti run` starts Prefect's temporary server, as for a user.

    Its proxies are of no use for that server.
    """
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    proxies = {"all_proxy": "socks5://127.0.0.1:1080", "http_proxy": "http://127.0.0.1:9"}
    return {**mine, **proxies, "PREFECT_HOME": str(make_prefect_home())}


@pytest.fixture
def running(
    request: pytest.FixtureRequest,
    demo_store: Path,
    rehearsal: Rehearsal,
    tmp_path: Path,
    environment: dict[str, str],
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Yield a run in its own process group that has made its first shard.

    Its worker has loaded Paddle (`native`), or is a fake one that hangs at the last row.
    """
    store, faults = tmp_path / "store", tmp_path / "faults.json"
    if request.param == "native":
        shutil.copytree(demo_store, store, symlinks=True)
        shutil.rmtree(store / "predictions")
        command = [str(WENTI), "run", str(DEMO), "--set", f"store.path={store}"]
    else:
        rehearsal.store_without_shards(store)
        command = rehearsal.command(store)
        last = {"row": list_digests(store)[-1], "kind": "hang"}
        faults.write_text(json.dumps({"rows": [last]}))
    with subprocess.Popen(
        command,
        env={**environment, FAULTS_VARIABLE: str(faults)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for_a_shard(process, store)
        yield process, store
        process.kill()


def wait_for_a_shard(process: subprocess.Popen[str], store: Path) -> None:
    while not list(store.glob("predictions/*/shard-*.json")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("running", "name", "told"),
    [
        ("fake", "SIGINT", "stopped by Ctrl-C"),
        ("native", "SIGTERM", "stopped by SIGTERM"),  # as `timeout` ends a command
        ("fake", "SIGHUP", "stopped by SIGHUP"),
    ],
    indirect=["running"],
)
def test_a_signal_ends_a_run_with_130_and_leaves_no_process(
    running: tuple[subprocess.Popen[str], Path], name: str, told: str
) -> None:
    process, store = running
    children = psutil.Process(process.pid).children(recursive=True)
    # A terminal sends Ctrl-C, and SIGHUP when it closes, to the whole group; `timeout` does so too.
    os.killpg(process.pid, signal.Signals[name])
    _, messages = process.communicate(timeout=600)
    assert process.returncode == 130
    assert f"to continue: wenti run {DEMO} --set store.path={store}" in messages
    assert "Traceback" not in messages
    assert "does not answer" not in messages  # the server has outlived the signal
    _, alive = psutil.wait_procs(children, timeout=600)
    assert alive == []
    record = json.loads((store / "runs/newest/run.json").read_bytes())
    assert (record["state"], record["error"]) == ("interrupted", told)
    assert list(store.glob("predictions/*/shard-*.json"))
    assert not list(store.rglob("*.tmp"))


@pytest.mark.parametrize("running", ["fake"], indirect=True)
def test_a_run_that_is_stopped_does_not_wait_for_a_server_that_is_gone(
    running: tuple[subprocess.Popen[str], Path],
) -> None:
    process, store = running
    children = psutil.Process(process.pid).children(recursive=True)
    (server,) = (child for child in children if child.name() == "prefect server")
    server.kill()
    process.terminate()
    _, messages = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "Prefect's server does not answer" in messages
    assert "the same command continues" in messages
    assert "Traceback" not in messages
    _, alive = psutil.wait_procs(children, timeout=600)
    assert alive == []
    record = json.loads((store / "runs/newest/run.json").read_bytes())
    assert (record["state"], record["error"]) == ("interrupted", "stopped by SIGTERM")
