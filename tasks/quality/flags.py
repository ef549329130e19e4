"""What is wrong with a question: the flags that metrics, report and commands count and show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

REPETITIVE = 0.2
"""Share of repeated words from which on a question is repetitive. Of 1,000 questions that people
wrote (CMRC 2018), none reaches it."""

FLAGS: Mapping[str, Callable[[pa.Table], pa.ChunkedArray]] = {
    "unfinished": lambda rows: pc.invert(rows["is_finished"]),
    "empty": lambda rows: rows["is_empty"],
    "unknown": lambda rows: rows["has_unknown"],
    "duplicate": lambda rows: pc.is_valid(rows["duplicate_of"]),
    "near_duplicate": lambda rows: pc.is_valid(rows["near_duplicate_of"]),
    "gives_answer_away": lambda rows: rows["gives_answer_away"],
    "not_asking": lambda rows: pc.invert(rows["asks"]),
    "repetitive": lambda rows: pc.greater_equal(rows["repeats"], REPETITIVE),
}
"""The flags, from a table with the columns of `tasks.quality.judge.QUALITY`."""

MEANS = ("repeats", "copies", "words_not_in_passage", "characters", "tokens", "score_per_token")


def find_flags(rows: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Return for each flag whether a row has it; what is not defined is not flagged."""
    return {name: pc.fill_null(find(rows), False) for name, find in FLAGS.items()}
