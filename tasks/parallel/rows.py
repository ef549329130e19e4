"""Helpers with the rows of a result, which the stages after predict share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from tasks.parallel.helpers import Compute, Helpers, count_cores

ROWS_PER_HELPER = 200_000
"""Of a result: a helper takes up to a second of CPU to start, so it costs at most 5 µs a row."""

MOST_HELPERS = 8
"""More do not help: one process does not take their answers any faster."""

Block = TypeVar("Block")
Answer = TypeVar("Answer")


class RowHelpers(Helpers[partial[Any], list[Any]]):
    """Helpers with the rows of a result, for any functions of blocks of them.

    Functions, blocks and answers are pickled.

    Args:
        rows: of the result; few of them need no helpers.
    """

    def __init__(self, rows: int) -> None:
        cores = count_cores()
        count = min(cores, MOST_HELPERS, rows // ROWS_PER_HELPER) if cores > 1 else 0
        super().__init__("helper", count, _caller)

    def compute(
        self, function: Callable[[Block], Iterable[Answer]], blocks: Iterable[Block]
    ) -> Iterator[Answer]:
        """Yield what `function(block)` yields, of one block after the other.

        A process returns all of a block at once; without helpers, one answer is in memory.

        Raises:
            WorkerError: a process died.
            WentiError, OSError: what ended the work on a block.
        """
        if not self.count:
            return chain.from_iterable(map(function, blocks))
        return chain.from_iterable(self.map(partial(function, block) for block in blocks))


def _caller() -> Compute[partial[Any], list[Any]]:
    return _call


def _call(call: partial[Any]) -> list[Any]:
    return list(call())


ALONE = RowHelpers(0)
"""No helpers."""
