from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from tasks.errors import BatchTimeoutError, ConfigError, ServerError, WorkerError
from tasks.findings import Finding
from tasks.processes import Child, call_in_child, call_telling_child, stop_children
from tests.support.rehearsal import ROOT


def add(left: int, right: int) -> tuple[int, int]:
    return left + right, os.getpid()


def refuse() -> None:
    raise ConfigError("it", [Finding("here", "wrong", "mend it")])


def miss_the_server() -> None:
    raise ServerError("it is away", "start it")


def fail_to_write() -> None:
    raise OSError(28, "No space left on device", "/somewhere")


def divide_by_zero() -> float:
    return 1 / 0


def count(most: int, divisor: int, tell: Callable[[int], None]) -> float:
    for number in range(most):
        tell(number)
    return most / divisor


def kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(connection: Connection) -> None:
    connection.send("asleep")
    time.sleep(600)


def test_a_call_is_answered_from_another_process() -> None:
    total, process = call_in_child(add, 2, right=3)
    assert total == 5
    assert process != os.getpid()
    assert not psutil.pid_exists(process)


def test_a_call_in_another_process_tells_before_it_is_answered() -> None:
    heard: list[object] = []
    assert call_telling_child(heard.append, count, 3, 1) == 3
    assert heard == [0, 1, 2]


def test_what_a_call_told_before_it_failed_is_heard() -> None:
    heard: list[object] = []
    with pytest.raises(WorkerError, match="ZeroDivisionError"):
        call_telling_child(heard.append, count, 2, 0)
    assert heard == [0, 1]


def test_a_call_in_another_process_may_start_processes_of_its_own() -> None:
    total, process = call_in_child(call_in_child, add, 2, 3)
    assert total == 5
    assert not psutil.pid_exists(process)


PROGRAM = """
import sys
from tasks.processes import call_in_child

print("imported")
if __name__ == "__main__":
    assert call_in_child(abs, -2) == 2
    assert sys.modules["__main__"].__file__ == __file__
"""


def test_a_child_does_not_import_the_program_that_starts_it(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, file], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "imported\n"), done.stderr


def test_an_error_of_ours_comes_back_whole() -> None:
    with pytest.raises(ConfigError, match="mend it") as caught:
        call_in_child(refuse)
    assert caught.value.faults == (Finding("here", "wrong", "mend it"),)


def test_a_missing_server_comes_back_with_problem_and_remedy() -> None:
    with pytest.raises(ServerError, match=r"^it is away; start it$") as caught:
        call_in_child(miss_the_server)
    assert (caught.value.problem, caught.value.remedy) == ("it is away", "start it")


def test_an_error_of_the_operating_system_keeps_its_number() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        call_in_child(fail_to_write)
    assert caught.value.errno == 28


def test_an_unexpected_error_is_a_worker_error_that_names_it() -> None:
    with pytest.raises(WorkerError, match="ZeroDivisionError"):
        call_in_child(divide_by_zero)


def test_a_death_is_a_worker_error_that_names_the_signal() -> None:
    with pytest.raises(WorkerError, match="SIGKILL"):
        call_in_child(kill_oneself)


def test_an_answer_that_does_not_come_in_time_is_an_error_of_its_own() -> None:
    child = Child("sleeper", sleep)
    assert child.receive(60) == "asleep"
    with pytest.raises(BatchTimeoutError, match="no answer in 0 s"):
        child.receive(0.2)
    child.stop()


def start_sleeper_and_wait(report: Connection) -> None:
    child = Child("sleeper", sleep)
    child.receive()
    report.send(child.process_id)
    time.sleep(600)


def test_a_child_does_not_outlive_a_killed_parent() -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    parent = spawn.Process(target=start_sleeper_and_wait, args=(theirs,))
    parent.start()
    orphan = psutil.Process(ours.recv())
    parent.kill()
    parent.join()
    psutil.wait_procs([orphan], timeout=600)
    assert not orphan.is_running()


def test_stopping_all_children_frees_whoever_waits() -> None:
    child = Child("sleeper", sleep)
    assert child.receive() == "asleep"
    failures: list[str] = []

    def wait() -> None:
        try:
            child.receive()
        except WorkerError as error:
            failures.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    stop_children()
    waiting.join(timeout=600)
    assert not waiting.is_alive()
    assert len(failures) == 1


def test_several_threads_may_stop_a_child() -> None:
    for _ in range(10):
        child = Child("sleeper", sleep)
        with ThreadPoolExecutor(4) as threads:
            stopping = [threads.submit(child.stop) for _ in range(4)]
        assert [each.exception() for each in stopping] == [None] * 4
