"""Processes that work on the groups of an input, one group each at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock
from typing import Any, Protocol, Self

from tasks.errors import StoppedError, WorkerError
from tasks.load.dataset import LoadRequest
from tasks.load.groups.work import GroupWorker
from tasks.processes import Child, answer

MOST_OTHERS = 200
"""So many workers can be added to the processes of this machine."""


class WorkerIsGoneError(Exception):
    """A worker cannot do a job, which another one is to do."""


class Worker(Protocol):
    """Does one job at a time."""

    def do(self, job: object) -> object:
        """Return the answer to a job.

        Raises:
            WorkerIsGoneError: another worker is to do it, and this one no more.
            WentiError, OSError: what kept it from that.
        """


class GroupProcesses:
    """A context manager for so many processes, which start when they are first needed.

    Args:
        request: what the groups are of.
        count: how many processes there are.
        helpers: how many further processes help each of them to tokenize.
    """

    def __init__(self, request: LoadRequest, count: int, helpers: int) -> None:
        self._threads = ThreadPoolExecutor(count + MOST_OTHERS, "work on groups")
        self._idle = SimpleQueue[Worker]()
        self._processes = [_Process(request, helpers) for _ in range(count)]
        for process in self._processes:
            self.add(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.stop()  # what is waited for ends with a `WorkerError`
        self._threads.shutdown()

    def add(self, worker: Worker) -> None:
        """Let another worker do jobs, too; it must end before this context does."""
        self._idle.put(worker)

    def do(self, jobs: Sequence[object]) -> Iterator[Any]:
        """Yield the answers to jobs, in order; behind one that fails, no further job begins.

        Raises:
            WorkerError: a process died.
            WentiError, OSError: what the first job that fails raises, after the answers before it.
        """
        failed: list[int] = []

        def check(number: int) -> None:
            if failed and number > min(failed):
                raise StoppedError("an earlier group has failed")

        def do_next(number: int, job: object) -> object:
            try:
                return self._do(job, partial(check, number))
            except BaseException:
                failed.append(number)
                raise

        futures = [
            self._threads.submit(copy_context().run, do_next, number, job)
            for number, job in enumerate(jobs)
        ]
        for future in futures:
            yield future.result()

    def _do(self, job: object, check: Callable[[], None]) -> object:
        while True:
            worker = self._idle.get()
            try:
                check()
                result = worker.do(job)
            except WorkerIsGoneError:
                continue
            except BaseException:
                self._idle.put(worker)
                raise
            self._idle.put(worker)
            return result


class _Process:
    """A process of this machine."""

    def __init__(self, request: LoadRequest, helpers: int) -> None:
        self._request, self._helpers = request, helpers
        self._child: Child | None = None
        self._is_stopped = False
        self._lock = Lock()

    def do(self, job: object) -> object:
        child = self._start()
        try:
            child.send(job)
            return child.receive()
        except WorkerError as error:
            remedy = "run again: groups of files that are loaded are kept"
            raise WorkerError(f"{error}; {remedy}") from error

    def stop(self) -> None:
        """End the process."""
        with self._lock:
            self._is_stopped = True
        if self._child is not None:
            self._child.stop()

    def _start(self) -> Child:
        with self._lock:
            if self._is_stopped:
                raise StoppedError("loading was stopped")
            if self._child is None:
                given, has_children = (self._request, self._helpers), self._helpers > 0
                self._child = Child("loader of files", _serve, *given, has_children=has_children)
            return self._child


def _serve(connection: Connection, request: LoadRequest, helpers: int) -> None:
    """Answer each job of a group, until the connection is closed."""
    worker = GroupWorker(request, helpers)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        answer(connection, partial(worker.work, job))
