"""Rows of a run's results: the first, the worst, a certain one; and those without a question.

`with_kept` says whether rows have the kept columns of the input, as of `python_values`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.columns.join import own_columns
from tasks.columns.values import python_values
from tasks.errors import InputError
from tasks.load.parts import REJECTS_FILE
from tasks.quality.flags import FLAGS, ORIGINALS, find_flags
from tasks.runs.results import QUALITY_FILE, find_predictions
from tasks.store.files import storage_of
from tasks.store.parted.places import take_places
from tasks.store.tables import iterate_rows, read_batches, read_schema

SCORES = ["score", "output_ids"]


@dataclass(frozen=True)
class Rejects:
    """Some rejected rows, and how many there are in all, by reason."""

    rows: list[dict[str, Any]]
    reasons: Mapping[str, int]


def first_rows(folder: PurePath, most: int, with_kept: bool = True) -> list[dict[str, Any]]:
    """Return the first rows of a run's predictions.

    Raises:
        StoreCorruptionError: they cannot be read.
    """
    return list(_rows_at(find_predictions(folder), range(most), with_kept))


def find_row(folder: PurePath, row: int, with_kept: bool = True) -> dict[str, Any]:
    """Return the prediction for a row of the input, counted from 0.

    Raises:
        InputError: it was rejected, or the input does not have it.
        StoreCorruptionError: the results cannot be read.
    """
    path, first = find_predictions(folder), 0
    for batch in read_batches(path, ["row"]):
        at = pc.index(batch["row"], row).as_py()
        if at >= 0:
            return next(_rows_at(path, [first + at], with_kept))
        first += batch.num_rows
    for reject in iterate_rows(folder / REJECTS_FILE):
        if reject["row"] == row:
            raise InputError(f"row {row} was rejected: {reject['reason']}: {reject['detail']}")
    raise InputError(f"the input of run {folder.name} has no row {row}; rows are counted from 0")


def find_worst(folder: PurePath, most: int, with_kept: bool = True) -> list[dict[str, Any]]:
    """Return the rows with the lowest score for each token of the question, the worst first.

    Raises:
        InputError: there are no questions, or the engine gave no scores.
        StoreCorruptionError: the results cannot be read.
    """
    path = find_predictions(folder)
    scored = (
        (row["score"] / max(1, len(row["output_ids"])), place)
        for place, row in enumerate(iterate_rows(path, SCORES))
        if row["score"] is not None
    )
    places = [place for _score, place in heapq.nsmallest(most, scored)]
    if not places:
        cause = "its engine gives none" if first_rows(folder, 1) else "it has no questions"
        raise InputError(f"run {folder.name} has no scores: {cause}")
    ordered = sorted(places)
    found = dict(zip(ordered, _rows_at(path, ordered, with_kept), strict=True))
    return [found[place] for place in places]


def find_flagged(
    folder: PurePath, flag: str, most: int, with_kept: bool = True
) -> list[dict[str, Any]]:
    """Return the first rows of a run that have a flag.

    Raises:
        InputError: there is no such flag, or the run has none at all.
        StoreCorruptionError: the results cannot be read.
    """
    if flag not in FLAGS:
        raise InputError(f"there is no flag {flag}; the flags are {', '.join(FLAGS)}")
    places: list[int] = []
    first = 0
    for batch in read_batches(_find_quality(folder)):
        is_flagged = find_flags(batch)[flag]
        places += (first + pc.indices_nonzero(is_flagged).to_numpy()[: most - len(places)]).tolist()
        first += batch.num_rows
    return list(_rows_at(find_predictions(folder), places, with_kept))


def read_results(folder: PurePath) -> pa.Table:
    """Return a run's predictions as a table.

    Raises:
        StoreCorruptionError: it cannot be read.
    """
    return _read_table(find_predictions(folder))


def read_quality(folder: PurePath) -> pa.Table:
    """Return a run's quality.parquet, with a column for each flag that says which rows have it.

    Raises:
        InputError: the run has none.
        StoreCorruptionError: it cannot be read.
    """
    table = _read_table(_find_quality(folder))
    columns = dict(zip(table.column_names, table.columns, strict=True))
    return pa.table(columns | find_flags(table))  # a flag replaces a column of its name


def _read_table(path: PurePath) -> pa.Table:
    return pa.Table.from_batches(read_batches(path), read_schema(path))


def _find_quality(folder: PurePath) -> PurePath:
    path = folder / QUALITY_FILE
    if not storage_of(path).is_file(path):
        raise InputError(f"run {folder.name} has no flags: an older version of Wenti made it")
    return path


def _rows_at(path: PurePath, places: Sequence[int], with_kept: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows at ascending positions of predictions, as far as there are rows."""
    columns = None if with_kept else own_columns(path)
    for chosen in take_places(path, places, columns):
        for values in zip(*map(python_values, chosen.columns), strict=True):
            yield dict(zip(chosen.schema.names, values, strict=True))


def add_flags(folder: PurePath, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of a run with their quality: `quality` has its columns and the `flags`.

    Of a duplicate, also a near one, it has the `original_question`. Rows of a run of an older
    version stay as they are.

    Raises:
        StoreCorruptionError: the results cannot be read.
    """
    path, by_row = folder / QUALITY_FILE, {row["row"]: row for row in rows}
    if storage_of(path).is_file(path):
        wanted = pa.array(by_row, pa.int64())
        for batch in read_batches(path):
            some = batch.filter(pc.is_in(batch["row"], wanted))
            flags = find_flags(some)
            for at, quality in enumerate(some.to_pylist()):
                row, names = (
                    by_row[quality.pop("row")],
                    [name for name in FLAGS if flags[name][at].as_py()],
                )
                row["quality"] = {"flags": names, **quality}
        _add_originals(folder, [row["quality"] for row in by_row.values()])
    return list(by_row.values())


def find_original(quality: Mapping[str, Any]) -> int | None:
    """Return the row whose question one repeats, also nearly, by its quality; None if it is new."""
    found: Iterator[int | None] = (quality[column] for column in ORIGINALS.values())
    return next((row for row in found if row is not None), None)


def _add_originals(folder: PurePath, qualities: Sequence[dict[str, Any]]) -> None:
    originals = [find_original(one) for one in qualities]
    wanted = pa.array({one for one in originals if one is not None}, pa.int64())
    questions = dict[int, str]()
    for batch in read_batches(find_predictions(folder), ["row", "question"]) if wanted else ():
        some = batch.filter(pc.is_in(batch["row"], wanted))
        questions |= dict(zip(*(column.to_pylist() for column in some.columns), strict=True))
    for quality, original in zip(qualities, originals, strict=True):
        if original is not None:
            quality["original_question"] = questions.get(original)


def first_rejects(folder: PurePath, most: int) -> Rejects:
    """Return the first rejected rows of a run, and the counts of all.

    Raises:
        StoreCorruptionError: they cannot be read.
    """
    path = folder / REJECTS_FILE
    reasons = Counter(row["reason"] for row in iterate_rows(path, ["reason"]))
    return Rejects(list(islice(iterate_rows(path), most)), dict(sorted(reasons.items())))
