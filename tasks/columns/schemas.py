"""What the columns of the results mean: the descriptions in the metadata of their Parquet files."""

from __future__ import annotations

import pyarrow as pa

_OF_ROWS = {
    "row": "number of the row of the input, from 0; blank lines are not counted",
    "id": "id of the row; without one, a digest of context and answer",
}
DESCRIPTIONS = {
    **_OF_ROWS,
    "context": "the passage",
    "answer": "the answer that the question asks for",
    "reference": "the reference question; null if the input has none",
    "question": "the generated question",
    "score": "score of the search, higher is better; null if the engine gives none",
    "is_finished": "whether the question ended within decode.max_dec_len tokens",
    "token_count": "tokens of the question, with the one that ends it",
    "output_ids": "these tokens",
    "alternatives": "the other questions of the row (decode.num_return_sequences), best first",
    "cut": "what of the row was cut off: passage_end, answer_in_passage, whole_passage or answer; "
    "null for nothing",
    "unknown_tokens": "characters and words of the row that the vocabulary does not have",
}
"""Of predictions.parquet; docs/results.md has the same texts."""

REJECT_DESCRIPTIONS = {
    **_OF_ROWS,
    "id": "id of the row; null if it has none that can be read",
    "file": "file of the row, if several are read",
    "line": "line of the file on which the row starts, from 1; null for Parquet and Arrow, and for "
    "rows that were loaded and then rejected or dropped",
    "reason": "why the row has no question",
    "detail": "the reason in a sentence",
}
"""Of rejects.parquet."""


def describe(schema: pa.Schema, descriptions: dict[str, str] = DESCRIPTIONS) -> pa.Schema:
    """Return a schema with the description of each field in its metadata; others stay."""
    fields = [
        field.with_metadata({"description": descriptions[field.name]})
        if field.name in descriptions
        else field
        for field in schema
    ]
    return pa.schema(fields, schema.metadata)
