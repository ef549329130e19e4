"""The same question twice, or nearly, in all rows of a run.

Two questions are equal if they have the same normal form (`texts/normal_form.py`), compared
by digests of 128 bits; `near.py` says which are near.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from tasks.quality.near import NONE, find_near, find_runs
from tasks.quality.texts.normal_form import Normalizer, as_strings
from tasks.quality.texts.rows import Growing, Integers, Rows
from tasks.quality.texts.rows_file import RowsFile
from tasks.system_errors import storage_faults

Flags = NDArray[np.bool_]


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

    def take(self, first: int, rows: int) -> Duplicates:
        """Return those of `rows` rows from the row at `first` on."""
        of_rows = slice(first, first + rows)
        return Duplicates(self.equal[of_rows], self.near[of_rows])


def find_duplicates(
    parts: Iterable[tuple[Integers, list[str]]], normalizer: Normalizer, folder: Path
) -> Duplicates:
    """Return the originals of all questions; empty ones have none.

    Args:
        parts: row numbers and questions, in file order. The sizes of the parts change nothing.
        normalizer: brings the questions into normal form.
        folder: for a file without a name, of some 80 bytes for each question, which would take
            much memory.

    Raises:
        StorageError: the folder cannot be written.
    """
    described = (describe(*part, normalizer) for part in parts)
    return compare(described, folder)


@dataclass(frozen=True)
class Described:
    """What of some questions is compared with others.

    Attributes:
        rows: their row numbers.
        digests: of their normal forms, uint64 [questions, 2].
        runs: those of `tasks.quality.near.find_runs`.
    """

    rows: Integers
    digests: NDArray[np.uint64]
    runs: Rows


def describe(rows: Integers, questions: list[str], normalizer: Normalizer) -> Described:
    """Return what of some questions is compared with others."""
    texts = normalizer.normalize_all(questions)
    return Described(rows, _digest(as_strings(texts)), find_runs(texts))


def compare(parts: Iterable[Described], folder: Path) -> Duplicates:
    """Return what `find_duplicates` does, of questions that are described."""
    rows, digests = Growing(np.int64), Growing(np.uint64)
    with storage_faults(folder), TemporaryFile(dir=folder, prefix=".quality-") as file:
        runs = RowsFile(file)
        for part in parts:
            rows.add(part.rows)
            digests.add(part.digests)
            runs.add(part.runs)
        first, is_empty = _find_first(digests.array.reshape(-1, 2))
        del digests  # before `find_near` needs memory
        return _resolve(rows.array, first, is_empty, runs)


def _digest(texts: list[str]) -> NDArray[np.uint64]:
    """Return a digest of each text, uint64 [texts, 2]."""
    digests = b"".join(blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def _resolve(rows: Integers, first: Integers, is_empty: Flags, runs: RowsFile) -> Duplicates:
    is_first = first == np.arange(len(rows))
    place = find_near(runs, is_first & ~is_empty)
    near = np.where(place == NONE, NONE, rows[place])
    return Duplicates(np.where(is_first | is_empty, NONE, rows[first]), near[first])


def _find_first(digests: NDArray[np.uint64]) -> tuple[Integers, Flags]:
    """Return for each digest [rows, 2] the first place that has it, and if it is of no text."""
    order = np.lexsort(digests.T)  # equal ones stay in their order
    is_new = np.zeros(len(order), np.bool_)
    is_new[:1] = True
    for half in digests.T:
        in_order = half[order]
        is_new[1:] |= in_order[1:] != in_order[:-1]
    news, others = np.flatnonzero(is_new), np.flatnonzero(~is_new)
    first = np.arange(len(order))
    first[order[others]] = order[news[np.searchsorted(news, others) - 1]]
    return first, (digests == _digest([""])).all(axis=1)
