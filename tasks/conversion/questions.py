"""The questions of a run one by one, each with its passage and the kept columns of its row."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from tasks.columns.source import OWN
from tasks.columns.values import python_values
from tasks.output.questions import questions_schema, split_questions
from tasks.store.tables import ROWS_AT_A_TIME, list_values, read_batches, read_schema

MOST_NAMED = 10

Question = dict[str, Any]
"""A row of questions.parquet, without its tokens, as values of `python_values`."""


@dataclass(frozen=True)
class Questions:
    """The questions of a run, to be read any number of times.

    Attributes:
        path: its predictions.parquet.
        run_id: the id of the run.
        model: what tells its model, with its options, from others.
    """

    path: PurePath
    run_id: str
    model: str

    @cached_property
    def read(self) -> pa.Schema:
        """The columns of predictions.parquet that are for people: all but the tokens."""
        schema = read_schema(self.path)
        return pa.schema([field for field in schema if field.name != "output_ids"])

    @property
    def names(self) -> list[str]:
        """The columns of a question: `read`, with `question_rank` instead of the alternatives."""
        names: list[str] = questions_schema(self.read).names
        return names

    def __iter__(self) -> Iterator[Question]:
        """Yield the questions in the order of the input, best first for each row.

        Raises:
            StoreCorruptionError: predictions.parquet cannot be read.
        """
        return self.of(read_batches(self.path, self.read.names, ROWS_AT_A_TIME))

    def of(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Question]:
        """Yield the questions of rows of predictions.parquet, which may have fewer columns."""
        for rows in batches:
            for batch in split_questions([rows], questions_schema(rows.schema)):
                yield from _as_questions(batch)


def _as_questions(batch: pa.RecordBatch) -> Iterator[Question]:
    names: Sequence[str] = batch.schema.names
    columns = [_values(name, batch[name]) for name in names]
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def _values(name: str, column: pa.Array) -> list[Any]:
    if name == "score":  # without digits beyond the precision of float32
        return [None if score is None else round(score, 6) for score in column.to_pylist()]
    return list_values(column) if name in OWN else python_values(column)


@dataclass
class Tally:
    """What was converted, counted on the way.

    Attributes:
        rows: rows of the input.
        questions: their questions, alternatives too.
        left_out: rows that the format cannot have.
        first_left_out: the numbers of the first `MOST_NAMED` of them, ascending.
    """

    rows: int = 0
    questions: int = 0
    left_out: int = 0
    first_left_out: list[int] = field(default_factory=list)

    def add(self, question: Question) -> None:
        """Count a question that is converted."""
        self.questions += 1
        self.rows += question["question_rank"] == 1

    def leave_out(self, question: Question) -> None:
        """Count a question that is not; its row counts once."""
        if question["question_rank"] == 1:
            self.left_out += 1
            insort(self.first_left_out, question["row"])
            del self.first_left_out[MOST_NAMED:]
