"""Processes that work on the groups of an input, one group each at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Self

from tasks.errors import StoppedError
from tasks.load.dataset import LoadRequest
from tasks.load.groups.work import GroupWorker
from tasks.processes import Child, answer


class GroupProcesses:
    """A context manager for so many processes, which start when they are first needed.

    Args:
        request: what the groups are of.
        count: how many processes there are.
        helpers: how many further processes help each of them to tokenize.
    """

    def __init__(self, request: LoadRequest, count: int, helpers: int) -> None:
        self._request, self._helpers = request, helpers
        self._threads = ThreadPoolExecutor(count, "work on groups")
        self._idle = SimpleQueue[Child | None]()
        for _ in range(count):
            self._idle.put(None)
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.stop()  # what is waited for ends with a `WorkerError`
        self._threads.shutdown()

    def do(self, jobs: Sequence[object]) -> Iterator[Any]:
        """Yield the answers to jobs, in order; behind one that fails, no further job begins.

        Raises:
            WorkerError: a process died.
            WentiError, OSError: what the first job that fails raises, after the answers before it.
        """
        failed: list[int] = []

        def do_next(number: int, job: object) -> object:
            if failed and number > min(failed):
                raise StoppedError("an earlier group has failed")
            try:
                return self._do(job)
            except BaseException:
                failed.append(number)
                raise

        futures = [
            self._threads.submit(copy_context().run, do_next, number, job)
            for number, job in enumerate(jobs)
        ]
        for future in futures:
            yield future.result()

    def _do(self, job: object) -> object:
        child = self._idle.get()
        try:
            child = child or self._start()
            child.send(job)
            return child.receive()
        finally:
            self._idle.put(child)

    def _start(self) -> Child:
        name, has_children = "loader of files", self._helpers > 0
        child = Child(name, _serve, self._request, self._helpers, has_children=has_children)
        self._children.append(child)
        return child


def _serve(connection: Connection, request: LoadRequest, helpers: int) -> None:
    """Answer each job of a group, until the connection is closed."""
    worker = GroupWorker(request, helpers)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        answer(connection, partial(worker.work, job))
