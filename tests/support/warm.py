"""`wenti` started from a process that has imported it: a run costs its work, not its imports.

Importing Prefect and the rest takes 2 to 3 s of CPU, more than a small run. A `Starter` is a
program that has done so. For each run it forks a child, which leads a session of its own, gets the
environment, the folder and the streams of the run, and calls the main function of `wenti`. It is a
real process that can be killed, and it starts the same children as any other.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from flows.server.settings import read_settings
from tasks.engine.fake import FAULTS_VARIABLE
from tasks.environment import importing, keep_pandas_out
from tasks.report.page import TEMPLATES, make_environment

ROOT = Path(__file__).parents[2]
LATE = {"FAULTY_DISK", FAULTS_VARIABLE, "BROWSER"}
"""Variables that a run may have of its own; nothing reads them while modules are imported."""
MODULES = (
    *("flows.cli.main", "flows.cli.console", "flows.cli.tables.runs", "flows.parameters"),
    *("flows.prepare", "flows.question_generation", "tasks.operations.verify"),
    "prefect.utilities.visualization",  # by Prefect, when a flow starts
)
MOST = 3  # starters at a time
NUMBER = struct.Struct("i")


class WarmProcess(subprocess.Popen[str]):
    """A `Popen` whose process is a child of a starter, which tells how it ended."""

    def _execute_child(self, *given: Any) -> None:  # noqa: ANN401 as Python 3.11 passes them
        arguments, _executable, _preexec, _close, _pass, folder, environment = given[:7]
        pipes = given[10:16]
        ends = (pipes[0], pipes[3], pipes[5])  # those of the process
        streams = [number if end == -1 else end for number, end in enumerate(ends)]
        self._ending, told = os.pipe()
        order = (list(map(str, arguments)), dict(environment), str(folder or Path.cwd()))
        try:
            with _lock:
                find_starter(environment).send(order, [*streams, told])
        finally:
            os.close(told)
            self._close_pipe_fds(*pipes)
        self.pid = self._read()
        self._child_created = True

    def _read(self) -> int:
        data = os.read(self._ending, NUMBER.size)
        assert data, "the starter has ended: see what it has printed"
        return int(NUMBER.unpack(data)[0])

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if wait_flags & os.WNOHANG and not select.select([self._ending], [], [], 0)[0]:
            return 0, 0
        status = self._read()
        os.close(self._ending)
        return self.pid, status

    def _internal_poll(self, **_given: object) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            try:
                pid, status = self._try_wait(os.WNOHANG) if self.returncode is None else (0, 0)
                if pid == self.pid:
                    self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode


class Starter:
    """The program of this module, and the socket for its orders; it ends with the socket."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=ROOT,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def send(self, order: Sequence[object], files: Sequence[int]) -> None:
        """Send an order with the streams of the run and the pipe for its id and its end."""
        socket.send_fds(self._socket, [json.dumps(order).encode()], files)

    def end(self) -> None:
        """End the program; the processes that it has started go on."""
        self._socket.close()
        self._process.wait()


_lock = threading.Lock()
_starters: dict[frozenset[tuple[str, str]], Starter] = {}


def find_starter(environment: Mapping[str, str]) -> Starter:
    """Return the starter with this environment, but for `LATE`; start it if there is none."""
    early = {name: value for name, value in environment.items() if name not in LATE}
    key = frozenset(early.items())
    if key not in _starters:
        if len(_starters) >= MOST:
            _starters.pop(next(iter(_starters))).end()
        _starters[key] = Starter(environment)
    return _starters[key]


@atexit.register
def _end_starters() -> None:
    while _starters:
        _starters.popitem()[1].end()


class Order(NamedTuple):
    """What to run: `sys.argv`, environment, folder, and descriptors of the streams."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    streams: list[int]


def import_all() -> None:
    """Import what `wenti` and its runs import; only Paddle is for children."""
    read_settings()  # sets what Prefect reads when it is imported
    with importing():
        for module in MODULES:
            import_module(module)
        for template in TEMPLATES.glob("*.j2"):
            make_environment(TEMPLATES).get_template(template.name)  # is compiled
    keep_pandas_out()
    assert threading.active_count() == 1, "a fork would lose a thread"


def serve(orders: socket.socket) -> Order | None:
    """Fork a child for each order; return the order in the child, and None at the end."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    while True:
        for ready in select.select([orders, woken], [], [])[0]:
            if ready == woken:
                os.read(woken, 100)
                _reap(running)
                continue
            message, files, _flags, _address = socket.recv_fds(orders, 1 << 20, 4)
            if not message:
                return None
            *streams, told = files
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for descriptor in (woken, wake, *running.values()):
                    os.close(descriptor)
                os.setsid()
                os.write(told, NUMBER.pack(os.getpid()))
                os.close(told)
                return Order(*json.loads(message), streams)
            running[pid] = told
            for stream in streams:
                os.close(stream)


def _reap(running: dict[int, int]) -> None:
    for pid, told in list(running.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            os.write(told, NUMBER.pack(status))
            os.close(running.pop(pid))


def carry_out(order: Order) -> NoReturn:
    """Do what the order says, as the program `wenti`."""
    for number, stream in enumerate(order.streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    if "FAULTY_DISK" in os.environ:
        ctypes.CDLL(os.environ["LD_PRELOAD"]).attach()
    sys.argv = order.arguments
    import_module("flows.cli.main").main()
    raise AssertionError("main returned")


if __name__ == "__main__":
    import_all()
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        found = serve(listening)
    if found is not None:
        carry_out(found)
