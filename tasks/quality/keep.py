"""Which questions of a run are kept: those that no rule of `aggregate.keep` drops.

Rules on a question alone come first. Duplicates are then looked for among the questions that these
rules leave, so that the original of each dropped duplicate is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.config.settings import KeepSettings
from tasks.quality.duplicates import Duplicates, find_duplicates
from tasks.quality.flags import FLAGS, ORIGINALS, find_flags
from tasks.quality.judge import QUALITY, nullable
from tasks.quality.near import NONE
from tasks.quality.texts.normal_form import Normalizer
from tasks.store.parted.places import local_folder
from tasks.store.tables import ROWS_AT_A_TIME, list_values, read_batches

PREFIX = "quality:"
"""Of the reason for which a question is dropped; the flag follows."""

KEPT = -1
_NAMES = tuple(FLAGS)
_FLAG_OF = {"finished": "unfinished", "asking": "not_asking"}
_DETAILS = {
    "unfinished": "it did not end within decode.max_dec_len tokens",
    "empty": "it has no words",
    "unknown": "the model wrote a token [UNK]",
    "duplicate": "it equals that of row {}",
    "near_duplicate": "it nearly equals that of row {}",
    "gives_answer_away": "the answer stands in it",
    "not_asking": "it has no question mark and no question word",
    "repetitive": "it repeats itself",
}


def list_drops(keep: KeepSettings | None) -> tuple[str, ...]:
    """Return the flags whose questions are dropped, in the order of `FLAGS`.

    Who wants no near duplicates wants no equal ones either.
    """
    asked = () if keep is None else keep.model_dump(exclude_none=True)
    flags = {_FLAG_OF.get(key, key) for key in asked}
    if "near_duplicate" in flags:
        flags.add("duplicate")
    return tuple(name for name in FLAGS if name in flags)


@dataclass(frozen=True)
class Choice:
    """What is kept and why the rest is not, for all rows in file order.

    Attributes:
        causes: the place in `FLAGS` of the flag for which a row is dropped, or `KEPT`, int8 [rows].
        originals: of the rows that the rules on a question alone leave; `NONE` for the others.
    """

    causes: NDArray[np.int8]
    originals: Duplicates

    def count(self) -> dict[str, int]:
        """Return the number of dropped rows by reason."""
        counts = np.bincount(self.causes[self.causes != KEPT], minlength=len(_NAMES)).tolist()
        return {PREFIX + name: rows for name, rows in zip(_NAMES, counts, strict=True) if rows}

    def keep(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the kept ones of all rows."""
        for start, batch in _with_starts(batches):
            is_kept = self.causes[start : start + batch.num_rows] == KEPT
            if is_kept.any():
                yield batch.filter(pa.array(is_kept))

    def keep_quality(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the quality of the kept ones of all rows, as if there had been no others."""
        yield from self.keep(self._with_originals(batches))

    def _with_originals(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        found = {"duplicate_of": self.originals.equal, "near_duplicate_of": self.originals.near}
        for start, batch in _with_starts(batches):
            of = slice(start, start + batch.num_rows)
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            columns |= {name: nullable(at[of], at[of] == NONE) for name, at in found.items()}
            yield pa.RecordBatch.from_arrays(
                [columns[name] for name in QUALITY.names], schema=QUALITY
            )

    def list_dropped(self, predictions: PurePath) -> Iterator[dict[str, Any]]:
        """Yield the dropped rows of a predictions.parquet with all rows.

        They have the columns of `tasks.store.tables.REJECTS`.

        Raises:
            StoreCorruptionError: the file cannot be read.
        """
        columns = ["row", "id", "question"]
        for start, batch in _with_starts(read_batches(predictions, columns, ROWS_AT_A_TIME)):
            dropped = np.flatnonzero(self.causes[start : start + batch.num_rows] != KEPT)
            for at, row in zip(dropped.tolist(), batch.take(dropped).to_pylist(), strict=True):
                question = row.pop("question")
                flag = _NAMES[self.causes[start + at]]
                of = self.originals.equal if flag == "duplicate" else self.originals.near
                detail = f"{_DETAILS[flag].format(of[start + at])}: {question}"
                yield {**row, "line": None, "reason": PREFIX + flag, "detail": detail}


def choose(predictions: PurePath, quality: PurePath, drops: Iterable[str]) -> Choice:
    """Return which rows of a predictions.parquet are kept.

    Args:
        predictions: all questions of the run.
        quality: the quality.parquet of the same rows.
        drops: the flags whose questions are dropped.

    Raises:
        StoreCorruptionError: a file cannot be read.
    """
    alone = [name for name in drops if name not in ORIGINALS]
    parts = [_judge_alone(batch, alone) for batch in read_batches(quality)]
    causes = np.concatenate([np.empty(0, np.int8), *(part for part, _, _ in parts)])
    originals = Duplicates(
        *(np.concatenate([np.empty(0, np.int64), *(part[at] for part in parts)]) for at in (1, 2))
    )
    if (causes != KEPT).any():
        originals = _find_among(predictions, causes == KEPT)
    # What equals a near duplicate is one, too: it is told with the original that is kept.
    for name, found in (("near_duplicate", originals.near), ("duplicate", originals.equal)):
        if name in drops:
            causes[(causes == KEPT) & (found != NONE)] = _NAMES.index(name)
    return Choice(causes, originals)


def _judge_alone(
    batch: pa.RecordBatch, alone: list[str]
) -> tuple[NDArray[np.int8], NDArray[np.int64], NDArray[np.int64]]:
    """Return the first cause of each row, and its originals: int8, int64 and int64 [rows]."""
    flags, causes = find_flags(batch), np.full(batch.num_rows, KEPT, np.int8)
    for name in reversed(alone):
        causes[flags[name].to_numpy(zero_copy_only=False)] = _NAMES.index(name)
    equal, near = (batch[name].fill_null(NONE).to_numpy() for name in ORIGINALS.values())
    return causes, equal, near


def _find_among(predictions: PurePath, is_left: NDArray[np.bool_]) -> Duplicates:
    """Return the originals of the rows that are left, among these; `NONE` for the others."""
    batches = _with_starts(read_batches(predictions, ["row", "question"], ROWS_AT_A_TIME))
    left = (
        batch.filter(pa.array(is_left[start : start + batch.num_rows])) for start, batch in batches
    )
    parts = ((rows["row"].to_numpy(), list_values(rows["question"])) for rows in left)
    folder = local_folder(predictions)
    found = find_duplicates(parts, Normalizer(), folder)
    equal, near = np.full((2, len(is_left)), NONE, np.int64)
    equal[is_left], near[is_left] = found.equal, found.near
    return Duplicates(equal, near)


def _with_starts(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield batches with the number of rows before each."""
    start = 0
    for batch in batches:
        yield start, batch
        start += batch.num_rows
