"""Processes that help with work on many rows: blocks go out, and answers come back in order.

What they answer does not depend on their number; without any, this process does the work itself.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from multiprocessing.connection import Connection
from typing import Any, Generic, Self, TypeVar

from tasks.errors import WorkerError
from tasks.processes import Child, answer

Block = TypeVar("Block")
Answer = TypeVar("Answer")
Compute = Callable[[Block], Answer]


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


class Helpers(Generic[Block, Answer]):
    """A number of processes that do one kind of work; they start when they are first needed.

    Args:
        name: of the work.
        count: the number of processes; 0: this one does the work.
        make: is called once in each process, and returns what answers a block.
    """

    def __init__(self, name: str, count: int, make: Callable[[], Compute[Block, Answer]]) -> None:
        self._name, self.count = name, count
        self._make = make
        self._alone = cache(make)
        self._children: list[Child] = []
        self._idle: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for child in self._children:
            child.stop()

    def map(self, blocks: Iterable[Block]) -> Iterator[Answer]:
        """Yield the answer to each block, in order. Each process has one block at a time.

        What `blocks` raises is raised after the answers to the blocks before it.

        Raises:
            WorkerError: a process died.
            WentiError, OSError: what ended the work on a block.
        """
        if not self.count:
            yield from (self._alone()(block) for block in blocks)
            return
        try:
            yield from self._map(blocks)
        except WorkerError as error:
            remedy = "run again; if memory was short, stop other programs first"
            raise WorkerError(f"{error}; {remedy}") from error

    def _map(self, blocks: Iterable[Block]) -> Iterator[Answer]:
        waiting, faults = deque[Child](), list[Exception]()
        for block in _until_fault(blocks, faults):
            if len(waiting) < self.count:
                waiting.append(self._send(block, self._take()))
                continue
            child = waiting.popleft()
            found: Answer = child.receive()
            waiting.append(self._send(block, child))
            yield found
        for child in waiting:
            found = child.receive()
            self._idle.append(child)
            yield found
        if faults:
            raise faults[0]

    def _take(self) -> Child:
        """Return a process that has nothing to do; start one if there is none."""
        if self._idle:
            return self._idle.pop()
        child = Child(self._name, _serve, self._make)
        self._children.append(child)
        return child

    def _send(self, block: Block, child: Child) -> Child:
        child.send(block)
        return child


def _until_fault(blocks: Iterable[Block], faults: list[Exception]) -> Iterator[Block]:
    """Yield blocks up to what they raise, which is added to `faults`."""
    try:
        yield from blocks
    except Exception as error:
        faults.append(error)


def _serve(connection: Connection, make: Callable[[], Compute[Any, Any]]) -> None:
    """Answer each block until the connection is closed."""
    compute = cache(make)  # if it cannot be made, the answer says why
    while True:
        try:
            block = connection.recv()
        except EOFError:
            return
        answer(connection, partial(_compute, compute, block))


def _compute(compute: Callable[[], Compute[Any, Any]], block: object) -> object:
    return compute()(block)
