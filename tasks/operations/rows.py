"""Rows of a run's results: the first, the worst, a certain one; and those without a question."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any

import pyarrow.compute as pc

from tasks.errors import InputError
from tasks.load.parts import REJECTS_FILE
from tasks.runs.results import PREDICTIONS_FILE
from tasks.store.tables import iterate_rows, read_batches, read_places

SCORES = ["score", "output_ids"]


@dataclass(frozen=True)
class Rejects:
    """Some rejected rows, and how many there are in all, by reason."""

    rows: list[dict[str, Any]]
    reasons: Mapping[str, int]


def first_rows(folder: PurePath, most: int) -> list[dict[str, Any]]:
    """Return the first rows of a run's predictions.

    Raises:
        StoreCorruptionError: they cannot be read.
    """
    return list(islice(iterate_rows(folder / PREDICTIONS_FILE), most))


def find_row(folder: PurePath, row: int) -> dict[str, Any]:
    """Return the prediction for a row of the input, counted from 0.

    Raises:
        InputError: it was rejected, or the input does not have it.
        StoreCorruptionError: the results cannot be read.
    """
    path, first = folder / PREDICTIONS_FILE, 0
    for batch in read_batches(path, ["row"]):
        at = pc.index(batch["row"], row).as_py()
        if at >= 0:
            return next(read_places(path, [first + at]))
        first += batch.num_rows
    for reject in iterate_rows(folder / REJECTS_FILE):
        if reject["row"] == row:
            raise InputError(f"row {row} was rejected: {reject['reason']}: {reject['detail']}")
    raise InputError(f"the input of run {folder.name} has no row {row}; rows are counted from 0")


def find_worst(folder: PurePath, most: int) -> list[dict[str, Any]]:
    """Return the rows with the lowest score for each token of the question, the worst first.

    Raises:
        InputError: the engine gave no scores.
        StoreCorruptionError: the results cannot be read.
    """
    path = folder / PREDICTIONS_FILE
    scored = (
        (row["score"] / max(1, len(row["output_ids"])), place)
        for place, row in enumerate(iterate_rows(path, SCORES))
        if row["score"] is not None
    )
    places = [place for _score, place in heapq.nsmallest(most, scored)]
    if not places:
        raise InputError(f"run {folder.name} has no scores: its engine gives none")
    ordered = sorted(places)
    found = dict(zip(ordered, read_places(path, ordered), strict=True))
    return [found[place] for place in places]


def first_rejects(folder: PurePath, most: int) -> Rejects:
    """Return the first rejected rows of a run, and the counts of all.

    Raises:
        StoreCorruptionError: they cannot be read.
    """
    path = folder / REJECTS_FILE
    reasons = Counter(row["reason"] for row in iterate_rows(path, ["reason"]))
    return Rejects(list(islice(iterate_rows(path), most)), dict(sorted(reasons.items())))
