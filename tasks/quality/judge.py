"""The quality of each question of a part of the rows, as the columns of quality.parquet."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.quality.asking import find_asking
from tasks.quality.duplicates import Duplicates
from tasks.quality.near import NONE
from tasks.quality.repeats import measure_repeats
from tasks.quality.texts.normal_form import Normalizer
from tasks.quality.texts.words import compare, contains, split_words
from tasks.store.tables import list_values

QUALITY = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the input, as in predictions.parquet
        pa.field("is_finished", pa.bool_(), nullable=False),
        pa.field("is_empty", pa.bool_(), nullable=False),
        pa.field("has_unknown", pa.bool_(), nullable=False),
        pa.field("asks", pa.bool_(), nullable=False),
        pa.field("gives_answer_away", pa.bool_()),  # null if the answer has no words
        pa.field("duplicate_of", pa.int64()),  # the row of the original; null if there is none
        pa.field("near_duplicate_of", pa.int64()),
        pa.field("repeats", pa.float32()),  # 0 to 1; null if there are fewer than 3 words
        pa.field("copies", pa.float32()),  # 0 to 1; null if there are no words
        pa.field("words_not_in_passage", pa.int32(), nullable=False),
        pa.field("character_count", pa.int32(), nullable=False),
        pa.field("token_count", pa.int32(), nullable=False),
        pa.field("score_per_token", pa.float32()),  # null if the engine gives no scores
    ]
)
TEXTS = ("context", "answer", "question")
COLUMNS = ("row", *TEXTS, "score", "is_finished", "token_count")
"""What `judge` reads of predictions.parquet."""


def judge(
    rows: pa.RecordBatch,
    has_unknown: NDArray[np.bool_],
    originals: Duplicates,
    normalizer: Normalizer,
) -> pa.RecordBatch:
    """Return the quality of some rows, with the columns of `QUALITY`.

    Takes about 50 bytes of memory for each character of the texts while it runs.

    Args:
        rows: the columns `COLUMNS` of predictions.parquet.
        has_unknown: whether [UNK] is among the tokens of each question, bool [rows].
        originals: the originals of the same rows, if they are duplicates.
        normalizer: brings texts into normal form.
    """
    tokens = np.maximum(rows["token_count"].to_numpy(), 1)
    scores = rows["score"].to_numpy(zero_copy_only=False)
    columns = {
        "row": rows["row"],
        "is_finished": rows["is_finished"],
        "has_unknown": has_unknown,
        "asks": find_asking(rows["question"]),
        "duplicate_of": nullable(originals.equal, originals.equal == NONE),
        "near_duplicate_of": nullable(originals.near, originals.near == NONE),
        "character_count": pc.utf8_length(rows["question"]),
        "token_count": rows["token_count"],
        "score_per_token": nullable(scores / tokens, np.isnan(scores)),
        **_compare_texts(rows, normalizer),
    }
    ordered = [columns[name] for name in QUALITY.names]
    return pa.RecordBatch.from_arrays(ordered, QUALITY.names).cast(QUALITY)


def _compare_texts(rows: pa.Table, normalizer: Normalizer) -> dict[str, pa.Array]:
    """Return the columns that compare the words of question, answer and passage."""
    # Rows of about the same lengths are compared at once.
    lengths = [pc.utf8_length(rows[name]).to_numpy() for name in ("context", "question")]
    order = np.lexsort(lengths)
    texts = (list_values(rows[name].take(order)) for name in TEXTS)
    passage, answer, question = split_words(*map(normalizer.normalize_all, texts))
    found, words = compare(question, passage), question.lengths
    given = contains(question, answer)
    repeats = measure_repeats(question)
    columns = {
        "is_empty": pa.array(words == 0),
        "gives_answer_away": nullable(given, answer.lengths == 0),
        "repeats": nullable(repeats, np.isnan(repeats)),
        "copies": nullable(found.longest / np.maximum(words, 1), words == 0),
        "words_not_in_passage": pa.array(found.missing),
    }
    back = np.argsort(order)
    return {name: column.take(back) for name, column in columns.items()}


def nullable(values: NDArray[np.generic], is_null: NDArray[np.bool_]) -> pa.Array:
    """Return values as an Arrow column that is null where `is_null` is true."""
    return pa.array(values, mask=is_null)
