"""The same question twice, or nearly, in all rows of a run.

Two questions are equal if they have the same normal form (`texts/normal_form.py`), compared
by digests of 128 bits; `near.py` says which are near.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tasks.quality.near import NONE, find_near, find_runs
from tasks.quality.texts.normal_form import Normalizer, as_strings
from tasks.quality.texts.rows import Integers, Rows, join_rows


@dataclass(frozen=True)
class Duplicates:
    """The originals of all questions, in file order: row numbers, int64 [rows], or `NONE`.

    Attributes:
        equal: the first row with an equal question.
        near: the first row with a near question that is itself no duplicate of either kind. So of
            questions that are near to each other one by one, the first one is the original.
    """

    equal: Integers
    near: Integers


def find_duplicates(
    parts: Iterable[tuple[Integers, list[str]]], normalizer: Normalizer
) -> Duplicates:
    """Return the originals of all questions; empty ones have none.

    Args:
        parts: row numbers and questions, in file order. The sizes of the parts change nothing.
        normalizer: brings the questions into normal form.
    """
    rows, digests, runs = [np.empty(0, np.int64)], [_digest([])], list[Rows]()
    for numbers, questions in parts:
        texts = normalizer.normalize_all(questions)
        rows.append(numbers)
        digests.append(_digest(as_strings(texts)))
        runs.append(find_runs(texts))
    return _resolve(np.concatenate(rows), np.concatenate(digests), join_rows(runs))


def _digest(texts: list[str]) -> NDArray[np.uint64]:
    """Return a digest of each text, uint64 [texts, 2]."""
    digests = b"".join(blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def _resolve(rows: Integers, digests: NDArray[np.uint64], runs: Rows) -> Duplicates:
    first = _find_first(digests)
    is_empty = (digests == _digest([""])).all(axis=1)
    is_first = first == np.arange(len(rows))
    place = find_near(runs.keep(is_first & ~is_empty))
    near = np.where(place == NONE, NONE, rows[place])
    return Duplicates(np.where(is_first | is_empty, NONE, rows[first]), near[first])


def _find_first(digests: NDArray[np.uint64]) -> Integers:
    """Return for each digest [rows, 2] the first place that has it."""
    order = np.lexsort(digests.T)  # equal ones stay in their order
    in_order = digests[order]
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    first = np.empty(len(order), np.int64)
    first[order] = order[is_new][np.cumsum(is_new) - 1]
    return first
