from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from prefect import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.engine.fake import FAULTS_VARIABLE
from tasks.predict.device_slots import slot_name, slots
from tests.support.rehearsal import Rehearsal
from tests.support.servers import free_port

CPU, GPU = slot_name("cpu"), slot_name("gpu:1")
WAITING = f"waiting for another run to release {CPU}"

Limit = Callable[[str], None]


@pytest.fixture
def limit(prefect_server: None) -> Iterator[Limit]:
    """A function that creates a limit by name: one run at a time."""
    names: list[str] = []

    with get_client(sync_client=True) as client:

        def make(name: str) -> None:
            names.append(name)
            asked = GlobalConcurrencyLimitCreate(name=name, limit=1)
            client.create_global_concurrency_limit(asked)

        yield make
        for name in names:
            client.delete_global_concurrency_limit_by_name(name)


def in_use(name: str) -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(name).active_slots


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return
    raise AssertionError(said)


def times_made(store: Path) -> list[int]:
    return sorted(path.stat().st_mtime_ns for path in store.glob("predictions/*/shard-*.parquet"))


def test_a_device_without_a_number_is_the_first_of_its_kind() -> None:
    assert slot_name("gpu") == slot_name("gpu:0") != slot_name("gpu:1")


def test_two_runs_over_different_stores_never_predict_on_a_device_at_the_same_time(
    rehearsal: Rehearsal, tmp_path: Path, limit: Limit
) -> None:
    limit(CPU)
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"seconds_per_batch": 0.2}))
    stores = [rehearsal.store_without_shards(tmp_path / name) for name in ("a", "b")]
    variables = {FAULTS_VARIABLE: str(faults)}
    processes = [rehearsal.start(store, **variables) for store in stores]
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    first, second = sorted(map(times_made, stores))
    assert first[-1] < second[0]
    for store in stores:
        rehearsal.check(store)
    assert in_use(CPU) == 0


def test_a_run_that_waits_for_a_device_can_be_interrupted(
    rehearsal: Rehearsal, tmp_path: Path, limit: Limit
) -> None:
    limit(CPU)
    store = rehearsal.store_without_shards(tmp_path / "store")
    with slots(["cpu"]), rehearsal.start(store) as process:
        read_until(process, WAITING)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        messages = process.communicate(timeout=600)[1]  # the slot is still held
        assert process.returncode == 130
        assert "to continue: wenti run" in messages
        assert "Traceback" not in messages
        assert psutil.wait_procs(children, timeout=600)[1] == []
        assert in_use(CPU) == 1


def test_devices_that_are_not_free_are_not_waited_for(limit: Limit) -> None:
    limit(CPU)
    with slots(["cpu"], wait=False) as are_free:
        assert are_free
        with slots(["cpu"], wait=False) as are_free_twice:
            assert not are_free_twice
        assert in_use(CPU) == 1
    assert in_use(CPU) == 0


def test_a_run_that_was_ended_by_a_fault_has_left_its_device(limit: Limit) -> None:
    limit(CPU)

    def fail() -> None:
        with slots(["cpu", "cpu:0"]):
            assert in_use(CPU) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert in_use(CPU) == 0


def test_who_waits_for_one_device_holds_no_other(
    limit: Limit, caplog: pytest.LogCaptureFixture
) -> None:
    limit(CPU)
    limit(GPU)
    entered = threading.Event()

    def use_both() -> None:
        with slots(["cpu", "gpu:1"]):
            entered.set()

    with caplog.at_level(logging.INFO, "wenti.slots"), slots(["gpu:1"]):
        thread = threading.Thread(target=use_both)
        thread.start()
        while not caplog.messages:
            assert not entered.wait(0.05)
        assert in_use(CPU) == 0
    thread.join(60)
    assert entered.is_set()
    assert (in_use(CPU), in_use(GPU)) == (0, 0)


def test_a_device_without_a_limit_or_whose_limit_is_off_is_free(limit: Limit) -> None:
    limit(GPU)
    with get_client(sync_client=True) as client:
        client.update_global_concurrency_limit(
            GPU, GlobalConcurrencyLimitCreate(name=GPU, limit=1, active=False)
        )
        with slots(["cpu", "gpu:1"]), slots(["cpu", "gpu:1"]):
            assert in_use(GPU) == 0
        assert [one.name for one in client.read_global_concurrency_limits()] == [GPU]


def test_every_device_is_free_while_the_server_is_away(caplog: pytest.LogCaptureFixture) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: url}), slots(["cpu"]):
        pass
    assert "continuing without them" in caplog.text
