"""The inputs and outputs of an exported model, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.engine.contract import Contract
from tasks.errors import BadOutputError

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]

Tokens = Sequence[int] | Int32
"""The tokens of one row, or their types."""


class TokenRow(Protocol):
    """What a row must have to become part of a batch."""

    @property
    def input_ids(self) -> Tokens:
        """Return the tokens, final start token included."""

    @property
    def token_type_ids(self) -> Tokens:
        """Return the type of each token."""

    @property
    def number(self) -> int:
        """Return what seeds the row's sampling."""


@dataclass(frozen=True)
class Row:
    """One tokenized row, final start token included; both lists have the same length.

    `number`, not negative, seeds its sampling.
    """

    input_ids: Tokens
    token_type_ids: Tokens
    number: int = 0


@dataclass(frozen=True)
class Batch:
    """Rows padded on the right.

    Attributes:
        input_ids: int32 [batch, length].
        token_type_ids: int32 [batch, length].
        seq_len: int32 [batch], tokens of each row, final start token included.
        numbers: int64 [batch], what seeds the sampling of each row.
    """

    input_ids: Int32
    token_type_ids: Int32
    seq_len: Int32
    numbers: Int64

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.seq_len)


@dataclass(frozen=True)
class Generated:
    """The output for a batch.

    Attributes:
        tokens: int32 [batch, num_return_sequences, max_dec_len]: each sequence with its eos token
            if that fits, then padding.
        scores: float32 [batch, num_return_sequences]; NaN if the engine returns none.
    """

    tokens: Int32
    scores: Float32


def pad_rows(rows: Sequence[TokenRow], pad_token_id: int) -> Batch:
    """Put rows of any length into one batch, padded to the longest.

    Raises:
        ValueError: there is no row, a row has fewer than two tokens (a source token and the start
            token), or its two lists differ in length.
    """
    if not rows:
        raise ValueError("a batch needs at least one row")
    for index, row in enumerate(rows):
        if len(row.input_ids) < 2 or len(row.input_ids) != len(row.token_type_ids):
            raise ValueError(
                f"row {index} has {len(row.input_ids)} input_ids and {len(row.token_type_ids)} "
                "token_type_ids; it needs as many of both, at least a source and a start token"
            )
    longest = max(len(row.input_ids) for row in rows)
    return Batch(
        input_ids=_padded([row.input_ids for row in rows], longest, pad_token_id),
        token_type_ids=_padded([row.token_type_ids for row in rows], longest, 0),
        seq_len=np.array([len(row.input_ids) for row in rows], dtype=np.int32),
        numbers=np.array([row.number for row in rows], dtype=np.int64),
    )


def _padded(rows: Sequence[Tokens], width: int, filler: int) -> Int32:
    table = np.full((len(rows), width), filler, dtype=np.int32)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def cut_batch(batch: Batch, parts: int) -> list[Batch]:
    """Split a batch into `parts` batches, each as wide as its longest row.

    Row i goes to part i mod `parts`, as `join_generated` expects; `parts` is at most the rows.
    """
    return [_part(batch, slice(first, None, parts)) for first in range(parts)]


def _part(batch: Batch, rows: slice) -> Batch:
    seq_len = batch.seq_len[rows]
    width = seq_len.max()
    return Batch(
        input_ids=batch.input_ids[rows, :width],
        token_type_ids=batch.token_type_ids[rows, :width],
        seq_len=seq_len,
        numbers=batch.numbers[rows],
    )


def join_generated(parts: Sequence[Generated]) -> Generated:
    """Join the outputs for the parts of `cut_batch`, in the order of the whole batch."""
    order = np.argsort(
        np.concatenate([np.arange(len(part.scores)) for part in parts]), kind="stable"
    )
    return Generated(
        tokens=np.concatenate([part.tokens for part in parts])[order],
        scores=np.concatenate([part.scores for part in parts])[order],
    )


def no_scores(tokens: Int32) -> Float32:
    """Return NaN scores, float32 [batch, sequences], for `tokens` of an engine without scores."""
    return np.full(tokens.shape[:2], np.nan, np.float32)


def check_generated(generated: Generated, contract: Contract, rows: int, device: str) -> None:
    """Check that an engine's output for a batch of `rows` rows agrees with its contract.

    Raises:
        BadOutputError: a type or shape is wrong, token ids are outside the vocabulary, or scores
            are NaN.
    """
    arrays = {"tokens": generated.tokens, "scores": generated.scores}
    for spec in contract.outputs:
        array = arrays[spec.name]
        if array.dtype != spec.dtype or not symbolic_shape_matches(spec.shape, array, rows):
            raise BadOutputError(
                f"{device}: the model returned {spec.name} as {array.dtype} {list(array.shape)}; "
                f"its contract says {spec.dtype} {list(spec.shape)} for {rows} rows"
            )
    if generated.tokens.min() < 0 or generated.tokens.max() >= contract.vocab_size:
        raise BadOutputError(
            f"{device}: the model returned token ids outside 0 to {contract.vocab_size - 1}"
        )
    if contract.has_scores and np.isnan(generated.scores).any():
        raise BadOutputError(f"{device}: the model returned scores that are not numbers")


def symbolic_shape_matches(shape: Sequence[int | str], array: NDArray[Any], batch: int) -> bool:
    """Return whether an array has the shape in a contract, for a batch of `batch` rows."""
    expected = [batch if size == "batch" else size for size in shape]
    return len(expected) == array.ndim and all(
        isinstance(size, str) or size == actual
        for size, actual in zip(expected, array.shape, strict=True)
    )


def probe_rows(contract: Contract) -> list[Row]:
    """Return a few rows of arbitrary tokens; the longest has 32, or fewer if the model requires."""
    special = contract.special_tokens
    longest = min(32, contract.longest_row)
    lengths = sorted({2, 5, longest} & set(range(2, longest + 1)))
    reserved = {special.unk, special.pad, special.bos, special.eos}
    words = [token for token in range(contract.vocab_size) if token not in reserved]
    return [
        Row(
            [words[place * 7 % len(words)] for place in range(length - 1)] + [special.bos],
            [0] * (length - 1) + [1 % contract.type_vocab_size],
        )
        for length in lengths
    ]


def plan_batches(
    lengths: Sequence[int], batch_size: int, max_tokens_per_batch: int
) -> list[list[int]]:
    """Group row positions into batches of similar length, longest first.

    `lengths` are in tokens. A batch has at most `batch_size` rows and, padded to its longest row,
    at most `max_tokens_per_batch` tokens; a row longer than that is a batch of its own. Every
    position is in exactly one batch. The longest come first, so that a batch that exceeds the
    device's memory fails at once.
    """
    batches: list[list[int]] = []
    room = 0
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        if room == 0:
            batches.append([])
            room = rows_that_fit(lengths[position], batch_size, max_tokens_per_batch)
        batches[-1].append(position)
        room -= 1
    return batches


def rows_that_fit(length: int, batch_size: int, max_tokens_per_batch: int) -> int:
    """Return the number of rows of a batch whose longest row has `length` tokens: at least 1."""
    return max(1, min(batch_size, max_tokens_per_batch // length))


def largest_batches(
    batch_size: int, longest: int, max_tokens_per_batch: int
) -> list[tuple[int, int]]:
    """Return the largest batches that `plan_batches` can make, each as (rows, tokens per row).

    One has the maximum number of rows, the other the longest rows, of `longest` tokens. A row has
    at least two tokens.
    """
    short = max(2, min(longest, max_tokens_per_batch // batch_size))
    few = rows_that_fit(longest, batch_size, max_tokens_per_batch)
    return [(batch_size, short), (few, longest)]
