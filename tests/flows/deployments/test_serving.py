"""What a start of `wenti serve` does to the deployments on a real server."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule

from flows.deployments.entries import describe_schedule
from flows.deployments.file import read_deployments
from flows.deployments.memory import Server, recall, recall_all, remember
from flows.deployments.serving import register
from flows.server.runner import ServingRunner
from tasks.errors import UnusableError

FLOW = "flows.question_generation.question_generation"
NIGHT = {"cron": "30 1 * * *", "timezone": "Asia/Shanghai"}
NIGHTLY = "question-generation/nightly"

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client
        for one in client.read_deployments():
            client.delete_deployment(one.id)
        for variable in client.read_variables():
            client.delete_variable_by_name(variable.name)


def nightly(*schedules: dict[str, Any], **keys: object) -> dict[str, Any]:
    parameters = {"config": "demo"}
    whole = {"name": "nightly", "entrypoint": FLOW, "parameters": parameters}
    return {**whole, "schedules": list(schedules), **keys}


def start(folder: Path, *deployments: dict[str, Any], names: tuple[str, ...] = ()) -> None:
    """Do what a start of `wenti serve` does before it waits for runs."""
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump({"deployments": list(deployments)}))
    runner = ServingRunner(1)
    register(runner, file, read_deployments(file, names))


def find(client: SyncPrefectClient, name: str = NIGHTLY) -> DeploymentResponse:
    return client.read_deployment_by_name(name)


def schedules(client: SyncPrefectClient, name: str = NIGHTLY) -> dict[str, bool]:
    listed = client.read_deployment_schedules(find(client, name).id)
    return {describe_schedule(one.schedule): one.active for one in listed}


def test_a_restart_keeps_what_was_paused_and_scheduled_in_prefect_and_says_so(
    client: SyncPrefectClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "wenti")
    caplog.clear()  # the first start is logged if another test has left this level
    demo = {**nightly(), "name": "demo"}
    start(tmp_path, nightly(NIGHT), demo)
    assert caplog.messages == [f"serving {NIGHTLY}", "serving question-generation/demo"]
    (schedule,) = client.read_deployment_schedules(find(client).id)
    client.update_deployment_schedule(find(client).id, schedule.id, active=False)
    added = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 5 * * *"))
    of_demo = find(client, "question-generation/demo").id
    client.create_deployment_schedules(of_demo, [added])
    client.pause_deployment(of_demo)

    caplog.clear()
    start(tmp_path, nightly(NIGHT), demo)
    night = "30 1 * * * (Asia/Shanghai)"
    assert schedules(client) == {night: False}
    assert schedules(client, "question-generation/demo") == {"0 5 * * * (UTC)": True}
    assert (find(client).paused, client.read_deployment(of_demo).paused) == (False, True)
    assert caplog.messages == [
        f"{NIGHTLY}: schedule {night} is paused in Prefect: kept so",
        f"serving {NIGHTLY}",
        "question-generation/demo is paused",
        "question-generation/demo: schedule 0 5 * * * (UTC), active, is not in the file: kept",
        "serving question-generation/demo",
    ]
    (same,) = client.read_deployment_schedules(find(client).id)
    assert same.id == schedule.id  # by which a late run finds the time zone of its day


def test_what_changes_in_the_file_changes_in_prefect_and_is_said(
    client: SyncPrefectClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start(tmp_path, nightly({**NIGHT, "active": False}, {"interval": 3600}))
    assert schedules(client)["30 1 * * * (Asia/Shanghai)"] is False
    edited = DeploymentUpdate(parameters={"config": "dureader_qg"}, tags=["mine"])
    client.update_deployment(find(client).id, edited)
    caplog.set_level("INFO", "wenti")
    caplog.clear()  # the first start is logged if another test has left this level
    start(tmp_path, nightly({**NIGHT, "cron": "0 2 * * *"}, paused=True))
    assert schedules(client) == {"0 2 * * * (Asia/Shanghai)": True}
    assert (find(client).parameters, find(client).tags) == ({"config": "demo"}, [])
    assert find(client).paused
    assert caplog.messages == [
        f"{NIGHTLY}: parameters, tags changed to what the file says",
        f"{NIGHTLY} is paused",
        f"{NIGHTLY}: schedule 30 1 * * * (Asia/Shanghai) is now 0 2 * * * (Asia/Shanghai), is now "
        "active",
        f"{NIGHTLY}: schedule every 1:00:00 (UTC) is no longer in the file: deleted",
        f"serving {NIGHTLY}",
    ]


def test_deployments_that_are_gone_from_the_file_lose_their_schedules(
    client: SyncPrefectClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    start(other, {**nightly(NIGHT), "name": "of another file"})
    start(tmp_path, nightly(NIGHT), {**nightly(NIGHT), "name": "demo"})
    caplog.set_level("INFO", "wenti")
    caplog.clear()  # the first start is logged if another test has left this level
    start(tmp_path, nightly(NIGHT), {**nightly(NIGHT), "name": "demo"}, names=("demo",))
    assert caplog.messages == ["serving question-generation/demo"]  # nightly is in the file

    caplog.clear()
    start(tmp_path, {**nightly(NIGHT), "name": "demo"})
    assert schedules(client) == {}
    assert len(schedules(client, "question-generation/demo")) == 1
    assert len(schedules(client, "question-generation/of another file")) == 1
    file = tmp_path / "prefect.yaml"
    assert caplog.messages == [
        f"{NIGHTLY} is no longer in {file}: schedule 30 1 * * * (Asia/Shanghai) deleted",
        "serving question-generation/demo",
    ]
    assert {memory.name for _key, memory in recall_all(client)} == {
        "question-generation/demo",
        "question-generation/of another file",
    }
    start(tmp_path, nightly(NIGHT))  # back again, and demo is gone
    assert schedules(client) == {"30 1 * * * (Asia/Shanghai)": True}


def test_a_deployment_that_another_process_of_this_machine_serves_is_refused(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    start(tmp_path, nightly())
    memory = recall(client, find(client).id)
    assert memory is not None
    assert memory.server == Server.of(os.getpid())
    parent = os.getppid()
    running = Server.of(parent)
    remember(client, find(client).id, replace(memory, server=running))
    with pytest.raises(UnusableError, match=f"{NIGHTLY} is served already, by process {parent}"):
        start(tmp_path, nightly())
    # The number of a process that has ended may be that of another one now.
    ended = replace(running, started="1")
    remember(client, find(client).id, replace(memory, server=ended))
    start(tmp_path, nightly())


def test_a_deployment_that_another_machine_serves_is_named(
    client: SyncPrefectClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start(tmp_path, nightly())
    memory = recall(client, find(client).id)
    assert memory is not None
    there = replace(
        memory, file="other:/srv/prefect.yaml", server=replace(memory.server, host="other")
    )
    warning = (
        f"{NIGHTLY} is also served on other: its runs may start there (other:/srv/prefect.yaml)"
    )
    remember(client, find(client).id, there)
    start(tmp_path, nightly())
    assert warning not in caplog.messages  # nobody has asked for its runs lately

    remember(client, find(client).id, there)
    polled = {"deployment_ids": [str(find(client).id)]}
    client.request("POST", "/deployments/get_scheduled_flow_runs", json=polled)
    while find(client).last_polled is None:  # the server notes it a moment later
        time.sleep(0.1)
    start(tmp_path, nightly())
    assert warning in caplog.messages
    assert platform.node() != "other"
