"""Processes that help to tokenize: blocks of rows go out, and come back in order.

One process reads rows several times as fast as it tokenizes them, so the load stage leaves
tokenizing to others on the remaining cores. What they return does not depend on their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Self

from tasks.errors import InputError
from tasks.load.encoding import Encoded, Outcome, QuestionTokenizer, encode_rows
from tasks.parallel.helpers import Helpers as Processes
from tasks.parallel.helpers import count_cores
from tasks.passages.records import Passage, Reject

ROWS_PER_BLOCK = 256
CHARACTERS_PER_BLOCK = 1 << 20
MOST_HELPERS = 4
"""More do not help: rows are not read faster than four processes tokenize them."""

MakeTokenizer = Callable[[], QuestionTokenizer]
_Block = list[Passage | Reject]


def count_helpers() -> int:
    """Return how many processes can help on this machine: none if there is one core."""
    return min(count_cores() - 1, MOST_HELPERS)


class Helpers:
    """A number of processes with a tokenizer each; they start when they are first needed."""

    def __init__(self, count: int, make_tokenizer: MakeTokenizer) -> None:
        make = partial(_make_encoder, make_tokenizer)
        self._processes = Processes[list[Passage], list[Encoded | Reject]]("tokenizer", count, make)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._processes.__exit__(*error)

    def encode(self, rows: Iterable[Passage | Reject]) -> Iterator[Outcome]:
        """Tokenize rows, in order; rejects are passed on. Each process has one block at a time.

        Raises:
            WorkerError: a process died.
            InputError: `rows` raised it; the rows before it are yielded first.
        """
        waiting: deque[_Block] = deque()

        def send() -> Iterator[list[Passage]]:
            for block in cut_blocks(rows):
                waiting.append(block)
                yield [row for row in block if isinstance(row, Passage)]

        for outcomes in self._processes.map(send()):
            yield from _merge(waiting.popleft(), outcomes)


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


def _make_encoder(
    make_tokenizer: MakeTokenizer,
) -> Callable[[list[Passage]], list[Encoded | Reject]]:
    return partial(_encode, make_tokenizer())


def _encode(tokenizer: QuestionTokenizer, passages: list[Passage]) -> list[Encoded | Reject]:
    return list(map(tokenizer.encode, passages))
