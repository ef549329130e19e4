"""Processes that help to tokenize: blocks of rows go out, and come back in order.

One process reads rows several times as fast as it tokenizes them, so the load stage leaves
tokenizing to others on the remaining cores. What they return does not depend on their number.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from multiprocessing.connection import Connection
from typing import Self

from tasks.errors import InputError, WorkerError
from tasks.load.encoding import Encoded, Outcome, QuestionTokenizer, encode_rows
from tasks.passages.records import Passage, Reject
from tasks.processes import Child, answer

ROWS_PER_BLOCK = 256
CHARACTERS_PER_BLOCK = 1 << 20
MOST_HELPERS = 4
"""More do not help: rows are not read faster than four processes tokenize them."""

MakeTokenizer = Callable[[], QuestionTokenizer]
_Block = list[Passage | Reject]


def count_helpers() -> int:
    """Return how many processes can help on this machine: none if there is one core."""
    return min(len(os.sched_getaffinity(0)) - 1, MOST_HELPERS)


class Helpers:
    """A number of processes with a tokenizer each; they start when they are first needed."""

    def __init__(self, count: int, make_tokenizer: MakeTokenizer) -> None:
        self._count = count
        self._make_tokenizer = make_tokenizer
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for child in self._children:
            child.stop()

    def encode(self, rows: Iterable[Passage | Reject]) -> Iterator[Outcome]:
        """Tokenize rows, in order; rejects are passed on. Each process has one block at a time.

        Raises:
            WorkerError: a process died.
            InputError: `rows` raised it; the rows before it are yielded first.
        """
        try:
            yield from self._encode(rows)
        except WorkerError as error:
            remedy = "run again; if memory was short, stop other programs first"
            raise WorkerError(f"{error}; {remedy}") from error

    def _encode(self, rows: Iterable[Passage | Reject]) -> Iterator[Outcome]:
        waiting: deque[tuple[_Block, Child]] = deque()
        fault: InputError | None = None
        try:
            for block in cut_blocks(rows):
                if len(waiting) < self._count:
                    waiting.append((block, self._send(block, self._start())))
                    continue
                done, child = waiting.popleft()
                outcomes = child.receive()
                waiting.append((block, self._send(block, child)))
                yield from _merge(done, outcomes)
        except InputError as error:
            fault = error
        for block, child in waiting:
            yield from _merge(block, child.receive())
        if fault is not None:
            raise fault

    def _start(self) -> Child:
        child = Child("tokenizer", _serve, self._make_tokenizer)
        self._children.append(child)
        return child

    def _send(self, block: _Block, child: Child) -> Child:
        child.send([row for row in block if isinstance(row, Passage)])
        return child


def cut_blocks(rows: Iterable[Passage | Reject]) -> Iterator[_Block]:
    """Cut rows into blocks of at most `ROWS_PER_BLOCK`; the last row of a block may be long.

    Raises:
        InputError: `rows` raised it; the rows before it are yielded first.
    """
    block, characters = list[Passage | Reject](), 0
    try:
        for row in rows:
            block.append(row)
            characters += len(row.context) + len(row.answer) if isinstance(row, Passage) else 0
            if len(block) >= ROWS_PER_BLOCK or characters >= CHARACTERS_PER_BLOCK:
                yield block
                block, characters = [], 0
    except InputError:
        if block:
            yield block
        raise
    if block:
        yield block


def _merge(block: _Block, outcomes: Sequence[Encoded | Reject]) -> Iterator[Outcome]:
    """Return the rows of a block with the outcomes of its passages."""
    left = iter(outcomes)
    return encode_rows(block, lambda _passage: next(left))


def _serve(connection: Connection, make_tokenizer: MakeTokenizer) -> None:
    """Answer each list of passages with their tokens, until the connection is closed."""
    tokenizer = cache(make_tokenizer)  # if it cannot be made, the answer says why
    while True:
        try:
            passages: list[Passage] = connection.recv()
        except EOFError:
            return
        answer(connection, partial(_encode, tokenizer, passages))


def _encode(tokenizer: MakeTokenizer, passages: list[Passage]) -> list[Encoded | Reject]:
    return list(map(tokenizer().encode, passages))
