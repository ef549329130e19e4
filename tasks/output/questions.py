"""One row for each question, instead of one for each row of the input with its best question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.store.tables import CHARACTERS_PER_BATCH

Counts = NDArray[np.int32]

RANK = pa.field(
    "question_rank",
    pa.int32(),
    nullable=False,
    metadata={"description": "which of the questions of the row this is: 1 is the best"},
)
ONLY_BEST = ("is_finished", "token_count", "output_ids")
"""What shards store of the best question only; null for the others."""


def questions_schema(predictions: pa.Schema) -> pa.Schema:
    """Return the schema of questions.parquet: that of predictions.parquet with `RANK`."""
    fields = [
        field.with_nullable(True) if field.name in ONLY_BEST else field
        for field in predictions
        if field.name != "alternatives"
    ]
    at = predictions.get_field_index("question")
    return pa.schema([*fields[:at], RANK, *fields[at:]], predictions.metadata)


def split_questions(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yield predictions with one row for each question, best first; `schema` is that of the result.

    A passage is repeated for each of its questions, so a batch can become several.
    """
    for batch in batches:
        counts = _count_questions(batch)
        start = 0
        for stop in _cut(batch, counts):
            yield _split(batch.slice(start, stop - start), counts[start:stop], schema)
            start = stop


def _count_questions(batch: pa.RecordBatch) -> Counts:
    others: Counts = pc.list_value_length(batch["alternatives"]).to_numpy()
    return 1 + others


def _cut(batch: pa.RecordBatch, counts: Counts) -> Iterator[int]:
    """Yield where a batch is cut, so that the questions of a piece are not too much text."""
    size = batch.nbytes // max(1, batch.num_rows) * int(counts.max(initial=1))
    rows = max(1, CHARACTERS_PER_BATCH // max(1, size))
    yield from range(rows, batch.num_rows, rows)
    if batch.num_rows:
        yield batch.num_rows


def _split(rows: pa.RecordBatch, counts: Counts, schema: pa.Schema) -> pa.RecordBatch:
    starts = np.cumsum(counts) - counts
    of_row = np.repeat(np.arange(len(counts)), counts)
    rank = np.arange(len(of_row)) - starts[of_row]
    others = rows["alternatives"].flatten()
    # the best questions come first, then the others of all rows
    at = np.where(rank == 0, of_row, len(counts) - 1 + np.arange(len(of_row)) - of_row)
    best = pa.array(np.where(rank == 0, of_row, 0), mask=rank > 0)
    columns = {"question_rank": pa.array(rank + 1, pa.int32())}
    for name in ("question", "score"):
        both = pa.concat_arrays([rows[name], pc.struct_field(others, name)])
        columns[name] = both.take(pa.array(at))
    for name in schema.names:
        if name not in columns:
            columns[name] = rows[name].take(best if name in ONLY_BEST else pa.array(of_row))
    arrays = [columns[name].cast(schema.field(name).type) for name in schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
