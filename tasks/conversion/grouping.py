"""The rows of a run such that those of one article, and of one passage in it, follow each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.columns.values import python_values
from tasks.store.tables import CHARACTERS_PER_BATCH, ROWS_AT_A_TIME, list_values, read_batches

Integers = NDArray[np.int64]


def grouped(
    path: PurePath, columns: Sequence[str], title: str | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a predictions.parquet, grouped.

    An article is the rows with the same title, in the order of the first rows of articles and
    passages. If the rows are in this order already, they pass through. Otherwise the file is read
    again for every `CHARACTERS_PER_BATCH` bytes of passages, which are then in memory.

    Args:
        path: the file.
        columns: those that are read.
        title: the column of titles; without one, or where it is null, a passage is an article.

    Raises:
        StoreCorruptionError: the file cannot be read.
    """
    order, sizes = _find_order(path, title)
    if np.all(order[1:] > order[:-1]):
        yield from read_batches(path, columns, ROWS_AT_A_TIME)
        return
    places = np.argsort(order)
    parts = np.cumsum(sizes[order]) // CHARACTERS_PER_BATCH
    for part in np.unique(parts):
        start, stop = np.searchsorted(parts, [part, part + 1])
        yield from _gather(path, columns, places, range(start, stop))


def _find_order(path: PurePath, title: str | None) -> tuple[Integers, Integers]:
    """Return which row is in each place of the new order, and how many bytes each passage has.

    Rows are compared by a hash: a collision would only put a row into the wrong place, where the
    text of its passage sets it apart.
    """
    articles, passages, sizes = list[int](), list[int](), list[Integers]()
    names = ["context"] if title is None else ["context", title]
    for batch in read_batches(path, names, ROWS_AT_A_TIME):
        texts, titles = list_values(batch["context"]), python_values(batch[names[-1]])
        if title is None:
            titles = [None] * len(texts)
        pairs = list(zip(titles, texts, strict=True))
        passages += map(hash, pairs)
        articles += [hash(one) if one[0] is None else hash(one[0]) for one in pairs]
        sizes.append(pc.binary_length(batch["context"]).to_numpy())
    keys = (_first(passages), _first(articles))
    return np.lexsort(keys), np.concatenate([np.empty(0, np.int64), *sizes])


def _first(keys: Sequence[int]) -> Integers:
    """Return for each key where the same one is first."""
    _, first, at = np.unique(np.array(keys, np.int64), return_index=True, return_inverse=True)
    return first[at]


def _gather(
    path: PurePath, columns: Sequence[str], places: Integers, wanted: range
) -> Iterator[pa.RecordBatch]:
    """Yield the rows whose places are wanted, in the order of these places."""
    chosen, found, first = list[pa.RecordBatch](), list[Integers](), 0
    for batch in read_batches(path, columns, ROWS_AT_A_TIME):
        here = places[first : first + batch.num_rows]
        is_wanted = (here >= wanted.start) & (here < wanted.stop)
        chosen.append(batch.filter(pa.array(is_wanted)))
        found.append(here[is_wanted])
        first += batch.num_rows
    order = np.argsort(np.concatenate(found))
    yield from pa.Table.from_batches(chosen).take(pa.array(order)).to_batches(ROWS_AT_A_TIME)
