"""Matching the rows of two runs, and classifying each pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf


class Kind(StrEnum):
    """The outcome of a row in runs A and B; each pair is of one kind."""

    SAME = "same"  # the same question in both
    CHANGED = "changed"
    OTHER_INPUT = "other_input"  # the same id with a different passage or answer
    REJECTED_IN_A = "rejected_in_a"
    REJECTED_IN_B = "rejected_in_b"
    REJECTED_IN_BOTH = "rejected_in_both"
    ONLY_IN_A = "only_in_a"
    ONLY_IN_B = "only_in_b"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a run: a prediction, or a reject, which has a reason and no texts.

    Attributes:
        row: number of the row in the run's input.
        id: None for a reject that could not be read.
        content: a hash of passage and answer; None for a reject.
        reference: None for a reject, or if there is none.
        question: None for a reject.
        reason: why the row was rejected; None for a prediction.
    """

    row: int
    id: str | None
    content: int | None = None
    reference: str | None = None
    question: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of run A and the same row of run B; None where a run does not have it."""

    a: Row | None
    b: Row | None

    @property
    def kind(self) -> Kind:
        """The outcome of the row in both runs."""
        if self.a is None:
            return Kind.ONLY_IN_B
        if self.b is None:
            return Kind.ONLY_IN_A
        if self.a.question is None:
            return Kind.REJECTED_IN_BOTH if self.b.question is None else Kind.REJECTED_IN_A
        if self.b.question is None:
            return Kind.REJECTED_IN_B
        if self.a.content != self.b.content:
            return Kind.OTHER_INPUT
        return Kind.SAME if self.a.question == self.b.question else Kind.CHANGED


def pair_rows(a: Sequence[Row], b: Sequence[Row]) -> list[Pair]:
    """Match the rows of two runs by id, each row once; return the rows of A first, in its order.

    Ids can repeat, and files can grow or be reordered. Rows with the same id are matched first by
    the same row number, if their texts agree; then by the same texts; then in order of appearance.
    """
    pairs: list[Pair] = []
    for key, fits in ((_place, _agree), (_texts, _agree), (_id, _always)):
        found, a, b = _match(a, b, key, fits)
        pairs += found
    pairs += [Pair(row, None) for row in a] + [Pair(None, row) for row in b]
    return sorted(pairs, key=_order)


def _match(
    a: Sequence[Row],
    b: Sequence[Row],
    key: Callable[[Row], Hashable],
    fits: Callable[[Row, Row], bool],
) -> tuple[list[Pair], list[Row], list[Row]]:
    """Match rows with equal keys in order; return the pairs and the unmatched rows of a and b."""
    waiting: defaultdict[Hashable, list[Row]] = defaultdict(list)
    for row in reversed(b):
        waiting[key(row)].append(row)
    waiting.pop(None, None)
    pairs, left = [], []
    for row in a:
        there = waiting.get(key(row))
        if there and fits(row, there[-1]):
            pairs.append(Pair(row, there.pop()))
        else:
            left.append(row)
    taken = {id(pair.b) for pair in pairs}
    return pairs, left, [row for row in b if id(row) not in taken]


def _place(row: Row) -> Hashable:
    return row.id, row.row


def _texts(row: Row) -> Hashable:
    return None if row.question is None else (row.id, row.content, row.reference)


def _id(row: Row) -> Hashable:
    return row.id


def _agree(a: Row, b: Row) -> bool:
    """Return whether two rows can be the same; the texts of a reject are unknown."""
    return a.question is None or b.question is None or _texts(a) == _texts(b)


def _always(_a: Row, _b: Row) -> bool:
    return True


def _order(pair: Pair) -> tuple[float, float]:
    return pair.a.row if pair.a else inf, pair.b.row if pair.b else inf
