"""What is wrong with a question: the flags that metrics, report and commands count and show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

REPETITIVE = 0.2
"""Share of repeated words from which on a question is repetitive. Of 1,000 questions that people
wrote (CMRC 2018), none reaches it."""

FLAGS: Mapping[str, Callable[[pa.RecordBatch], pa.BooleanArray]] = {
    "unfinished": lambda rows: pc.invert(rows["is_finished"]),
    "empty": lambda rows: rows["is_empty"],
    "unknown": lambda rows: rows["has_unknown"],
    "duplicate": lambda rows: pc.is_valid(rows["duplicate_of"]),
    "near_duplicate": lambda rows: pc.is_valid(rows["near_duplicate_of"]),
    "gives_answer_away": lambda rows: rows["gives_answer_away"],
    "not_asking": lambda rows: pc.invert(rows["asks"]),
    "repetitive": lambda rows: pc.greater_equal(rows["repeats"], REPETITIVE),
}
"""The flags, from rows with the columns of `tasks.quality.judge.QUALITY`."""

ORIGINALS = {"duplicate": "duplicate_of", "near_duplicate": "near_duplicate_of"}
"""The columns that name another row, by flag."""

SCORE = "score_per_token"
MEANS = (
    "repeats",
    "copies",
    "words_not_in_passage",
    "character_count",
    "token_count",
    SCORE,
)


def find_flags(rows: pa.RecordBatch | pa.Table) -> dict[str, pa.BooleanArray]:
    """Return for each flag whether a row has it; what is not defined is not flagged."""
    return {name: pc.fill_null(find(rows), False) for name, find in FLAGS.items()}


def summarize(batches: Iterable[pa.RecordBatch]) -> dict[str, Any]:
    """Return for metrics.json how many rows have each flag, or any, and means of the numbers.

    A mean counts only rows for which the number is defined; it is None if there is none.
    `score_deviation` is the standard deviation of the score per token.
    """
    flags, flagged, rows = Counter(dict.fromkeys(FLAGS, 0)), 0, 0
    sums, counts, squares = Counter[str](), Counter[str](), 0.0
    for batch in batches:
        found = find_flags(batch)
        flags.update({name: values.true_count for name, values in found.items()})
        rows += batch.num_rows
        flagged += reduce(pc.or_, found.values()).true_count
        sums.update({name: pc.sum(batch[name], min_count=0).as_py() for name in MEANS})
        counts.update({name: len(batch) - batch[name].null_count for name in MEANS})
        score = batch[SCORE].cast(pa.float64())
        squares += pc.sum(pc.multiply(score, score), min_count=0).as_py()
    means = {name: round(sums[name] / counts[name], 4) if counts[name] else None for name in MEANS}
    return {
        "rows": rows,
        "flagged_rows": flagged,
        "flags": dict(flags),
        "means": means,
        "score_deviation": _deviation(counts[SCORE], sums[SCORE], squares),
    }


def _deviation(count: int, total: float, squares: float) -> float | None:
    """Return the standard deviation of a sample from its sum and that of its squares."""
    if count < 2:
        return 0.0 if count else None
    return round(math.sqrt(max(squares - total * total / count, 0.0) / (count - 1)), 6)
