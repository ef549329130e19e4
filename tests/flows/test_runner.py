"""What `flows/server/runner.py` relies on in Prefect, without stopping `wenti serve`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.objects import State
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Crashed

from flows.run_context import SERVED_VARIABLE, Stop
from flows.server.runner import RunLoop, ServingRunner, log_run, mark_as_stopped

FLOW = f"""
import os
import stat
from pathlib import Path
from prefect import flow

@flow
def work():
    is_session = os.getsid(0) == os.getpid()
    is_pipe = stat.S_ISFIFO(os.fstat(int(os.environ["{SERVED_VARIABLE}"])).st_mode)
    seen = f"session: {{is_session}}, pipe: {{is_pipe}}"
    Path(__file__).with_name("seen").write_text(seen)
"""
MOVED = "another Prefect starts its runs in another way: change flows/server/runner.py"


@pytest.fixture(autouse=True)
def handler_of_sigterm() -> Iterator[None]:
    """Restore the handler that a runner replaces."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run_once(folder: Path, *, is_stopped: bool) -> tuple[UUID, RunLoop, State]:
    """Start one run with a runner, as for a deployment, and wait for its end."""
    (folder / "work.py").write_text(FLOW)
    runner, loop = ServingRunner(1), RunLoop({})

    async def start() -> None:
        if is_stopped:
            await loop.stop_runs()
        await runner.start(run_once=True)
        await mark_as_stopped(loop.stopped)

    entrypoint = f"{folder / 'work.py'}:work"
    deployment = runner.add_deployment(RunnerDeployment.from_entrypoint(entrypoint, name="test"))
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployment).id
        with asyncio.Runner(loop_factory=lambda: loop) as tasks:
            tasks.run(start())
        state = client.read_flow_run(run).state
        client.delete_deployment(deployment)
    assert state is not None
    return run, loop, state


@pytest.mark.usefixtures("prefect_server")
def test_a_run_is_known_to_the_loop_and_in_a_session_of_its_own(tmp_path: Path) -> None:
    run, loop, state = run_once(tmp_path, is_stopped=False)
    assert state.is_completed()
    assert (set(loop.started), loop.stopped) == ({run}, set()), MOVED
    assert (tmp_path / "seen").read_text() == "session: True, pipe: True", MOVED


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_was_about_to_start_at_the_stop_is_not_started(tmp_path: Path) -> None:
    run, loop, state = run_once(tmp_path, is_stopped=True)
    assert (set(loop.started), loop.stopped) == (set(), {run}), MOVED
    assert (state.is_crashed(), state.message) == (True, Stop.SERVE.message)
    assert not (tmp_path / "seen").exists()


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("known", "state"),
    [(["config"], "Failed: no such parameter: confg; known: config"), (["confg"], "Crashed: gone")],
)
def test_a_run_that_crashed_for_its_parameters_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, known: list[str], state: str
) -> None:
    (tmp_path / "work.py").write_text(FLOW)
    deployed = RunnerDeployment.from_entrypoint(f"{tmp_path / 'work.py'}:work", name="parameters")
    deployment = ServingRunner(1).add_deployment(deployed)

    async def log_a_crash() -> None:
        async with get_client() as client:
            run = await client.create_flow_run_from_deployment(
                deployment, parameters={"confg": "demo"}, state=Crashed(message="gone")
            )
        loop = asyncio.get_running_loop()
        command = [sys.executable, "-c", ""]
        process, _protocol = await loop.subprocess_exec(asyncio.SubprocessProtocol, *command)
        await log_run(run.id, process, {deployment: known})
        process.close()

    asyncio.run(log_a_crash())
    with get_client(sync_client=True) as client:
        client.delete_deployment(deployment)
    assert caplog.messages[-1].endswith(f"ended: {state}")
