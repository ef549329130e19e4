"""A sample of a run's own rows, on which an export is tried."""

from __future__ import annotations

from itertools import islice

from tasks.engine.batch import Row
from tasks.engine.tokenizer import QuestionTokenizer
from tasks.errors import InputError
from tasks.loading import LoadRequest, encode_rows, read_rows
from tasks.passages import Reject


def read_sample(request: LoadRequest, most: int) -> list[Row]:
    """Give the first usable rows of the passages, at most so many, as tokens.

    It needs what PaddleNLP's data sets need, and so runs in a child process.

    Raises:
        InputError: the passages cannot be read, or there is no usable row.
        ModelError: the model folder has no usable vocabulary.
    """
    tokenizer = QuestionTokenizer(
        request.model_folder, request.template, request.max_seq_len, request.max_title_len
    )
    encoded = encode_rows(read_rows(request), tokenizer, request.on_bad_row)
    usable = (one for one in encoded if not isinstance(one, Reject))
    rows = [
        Row(tokens.input_ids, tokens.token_type_ids, passage.row)
        for passage, tokens in islice(usable, most)
    ]
    if not rows:
        raise InputError("no row of the passages is usable, so that no export can be tried")
    return rows
