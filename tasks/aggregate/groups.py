"""What became of each group of rows: those with the same values in the columns of a config.

The largest groups are told one by one and the others together, so that memory and report stay
small, whatever the columns have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.columns.store import COLUMNS_FILE
from tasks.columns.values import python_values
from tasks.evaluation.bootstrap import SEED, estimate
from tasks.evaluation.counts import COLUMNS, ROWS, Counts, count_pairs
from tasks.evaluation.scores import METRICS, score_counts
from tasks.load.parts import REJECTS_FILE
from tasks.plan.plan import Plan
from tasks.quality.flags import FLAGS, find_flags
from tasks.quality.keep import PREFIX
from tasks.runs.results import QUALITY_FILE, find_predictions
from tasks.store.tables import list_values, read_batches

MOST_GROUPS = 50
MOST_BUNDLES = 1000
"""Among which the rows of a larger group are distributed by chance. That bundles are resampled
takes little time and memory; the width of an interval differs by some 2 % (1 / √2,000)."""

FEWEST_ROWS = 10
"""With a reference; the interval of fewer would say nothing."""

GROUP_METRICS = ("bleu_4", "rouge_l", "exact_match")
_COUNTS = ("predictions", "flagged", *FLAGS, "score", "scored", "rejects", "dropped")


@dataclass(frozen=True)
class Groups:
    """The groups of the rows of an input.

    Attributes:
        values: those of each column, for each of the `MOST_GROUPS` largest groups, largest first.
        place: of each row's group in `values`, or their number for all other groups; int32 [rows].
        count: the number of all groups.
    """

    values: list[list[Any]]
    place: NDArray[np.int32]
    count: int


def describe_groups(plan: Plan, folder: PurePath) -> dict[str, Any] | None:
    """Return for metrics.json the groups of `aggregate.group_by`; None if the config has none.

    `shown` has the largest, each with its `values` of the `columns`, and `others` all others
    together. `rows` of the input are `predictions` and `rejects`, which include `rows_dropped`.
    `flags` are of the predictions, `score_per_token` is their mean. Metrics are null without
    references, their intervals (95 %, `low` to `high`) below `FEWEST_ROWS` of them.

    Args:
        plan: the plan of the run.
        folder: of the run, with its results.

    Raises:
        StoreCorruptionError: a result or the kept columns cannot be read.
    """
    by = plan.settings.aggregate.group_by
    if by is None or plan.columns is None:  # the checks of a config see to it that both are there
        return None
    groups = find_groups(plan.columns.folder / COLUMNS_FILE, by)
    counts, scores = _count(groups, folder), _score(groups, find_predictions(folder))
    told = [
        _describe(row, found) for row, found in zip(counts.to_dict("records"), scores, strict=True)
    ]
    largest = len(groups.values)
    return {
        "columns": list(by),
        "count": groups.count,
        "shown": [
            {"values": values, **one} for values, one in zip(groups.values, told, strict=False)
        ],
        "others": {"groups": groups.count - largest, **told[largest]}
        if groups.count > largest
        else None,
    }


def find_groups(columns: PurePath, by: Sequence[str]) -> Groups:
    """Return the groups of the rows of a file, by some of its columns; equal sizes in row order.

    Raises:
        StoreCorruptionError: the file cannot be read.
    """
    known: list[dict[Any, int]] = [{} for _ in by]
    parts = [
        np.column_stack([_number(batch[name], of) for name, of in zip(by, known, strict=True)])
        for batch in read_batches(columns, by)
    ]
    codes = pd.DataFrame(np.concatenate([np.empty((0, len(by)), np.int64), *parts]))
    number = codes.groupby(list(codes), sort=False).ngroup().to_numpy()
    order = np.argsort(-np.bincount(number), kind="stable")
    largest = order[:MOST_GROUPS]
    place = np.full(len(order), len(largest), np.int32)
    place[largest] = np.arange(len(largest))
    texts = [list(of) for of in known]
    firsts = codes.drop_duplicates().to_numpy()[largest].tolist()
    values = [[of[code] for of, code in zip(texts, row, strict=True)] for row in firsts]
    return Groups(values, place[number], len(order))


def _number(column: pa.Array, known: dict[Any, int]) -> NDArray[np.int64]:
    """Return the number of each value of a column; new values get the next ones."""
    encoded = column.dictionary_encode("encode")
    values = (
        one if isinstance(one, str | int | None) else str(one)
        for one in python_values(encoded.dictionary)
    )
    numbers = np.array([known.setdefault(one, len(known)) for one in values], np.int64)
    found: NDArray[np.int64] = numbers[encoded.indices.to_numpy()]
    return found


def _count(groups: Groups, folder: PurePath) -> pd.DataFrame:
    """Return the sums of `_COUNTS` and the `rows` of each place."""
    parts = [*_count_questions(groups, folder), *_count_rejects(groups, folder)]
    places = range(len(groups.values) + 1)
    sums = pd.concat(parts).groupby(level=0).sum() if parts else pd.DataFrame()
    sums = sums.reindex(index=places, columns=list(_COUNTS)).fillna(0)
    return sums.assign(rows=sums["predictions"] + sums["rejects"])


def _count_questions(groups: Groups, folder: PurePath) -> Iterator[pd.DataFrame]:
    for batch in read_batches(folder / QUALITY_FILE):
        flags = {
            name: is_flagged.to_numpy(zero_copy_only=False)
            for name, is_flagged in find_flags(batch).items()
        }
        score = batch["score_per_token"].to_numpy(zero_copy_only=False)
        rows = pd.DataFrame({**flags, "score": score, "scored": ~np.isnan(score)})
        rows = rows.assign(predictions=1, flagged=rows[list(FLAGS)].any(axis=1))
        yield rows.groupby(groups.place[batch["row"].to_numpy()]).sum()


def _count_rejects(groups: Groups, folder: PurePath) -> Iterator[pd.DataFrame]:
    for batch in read_batches(folder / REJECTS_FILE, ["row", "reason"]):
        is_dropped = pc.starts_with(batch["reason"], PREFIX).to_numpy(zero_copy_only=False)
        rows = pd.DataFrame({"rejects": 1, "dropped": is_dropped})
        yield rows.groupby(groups.place[batch["row"].to_numpy()]).sum()


def _score(groups: Groups, predictions: PurePath) -> list[dict[str, Any]]:
    """Return the number of references and the metrics of each place."""
    places = len(groups.values) + 1
    sums, references = np.zeros((places, MOST_BUNDLES, COLUMNS)), np.zeros(places, np.int64)
    is_large = np.bincount(groups.place, minlength=places) > MOST_BUNDLES
    generator = np.random.default_rng(SEED)  # not in turn: rows can have a period
    for batch in read_batches(predictions, ["row", "question", "reference"]):
        rows = batch.filter(pc.is_valid(batch["reference"]))
        pairs = zip(list_values(rows["question"]), list_values(rows["reference"]), strict=True)
        place = pd.Series(groups.place[rows["row"].to_numpy()])
        before = references[place] + place.groupby(place).cumcount()
        drawn = generator.integers(MOST_BUNDLES, size=len(place))
        bundle = np.where(is_large[place], drawn, before)
        np.add.at(sums, (place, bundle), count_pairs(list(pairs)))
        references += np.bincount(place, minlength=places)
    return [_estimate(one[one[:, ROWS] > 0]) for one in sums]


def _estimate(bundles: Counts) -> dict[str, Any]:
    references = int(bundles[:, ROWS].sum())
    if not references:
        return {"references": 0, **dict.fromkeys(GROUP_METRICS)}
    found = estimate(bundles, score_counts)
    has_interval = references >= FEWEST_ROWS
    told: dict[str, Any] = {"references": references}
    for at, name in enumerate(METRICS):
        if name in GROUP_METRICS:
            value, low, high = (round(float(one[at]), 4) for one in found)
            interval = (low, high) if has_interval else (None, None)
            told[name] = {"value": value, "low": interval[0], "high": interval[1]}
    return told


def _describe(counts: Mapping[Any, Any], scores: Mapping[str, Any]) -> dict[str, Any]:
    scored = counts["scored"]
    return {
        "rows": int(counts["rows"]),
        "predictions": int(counts["predictions"]),
        "rejects": int(counts["rejects"]),
        "rows_dropped": int(counts["dropped"]),
        "flagged_rows": int(counts["flagged"]),
        "flags": {name: int(counts[name]) for name in FLAGS},
        "score_per_token": round(counts["score"] / scored, 4) if scored else None,
        **scores,
    }
