"""The rows that every contender gets, and the batches that they are put into."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import NormalDist

from tasks.bench.options import SPECIAL_TOKENS, BenchOptions
from tasks.engine.batch import plan_batches

EXAMPLE_BATCH_SIZE = 8
"""Rows of a batch of the example, in the file's order: its 16, halved by the example itself."""

SEED = 20
MEAN, SHORTEST, LONGEST = 270, 32, 512
SPREAD = 0.5  # of the logarithm

Batches = list[list[int]]


def row_lengths(options: BenchOptions) -> list[int]:
    """Give the tokens of each row, start token included.

    Uneven lengths are those of a log-normal distribution with the mean `length` and a standard
    deviation of the logarithm of `SPREAD`, cut to 32 … 512 tokens for a mean of 270 and in
    proportion for others. They are the distribution's quantiles, so that few rows are as uneven
    as many, in an order shuffled once and for all.
    """
    if not options.uneven:
        return [options.length] * options.rows
    scale = options.length / MEAN
    shortest, longest = max(4, round(SHORTEST * scale)), max(4, round(LONGEST * scale))
    logarithm = NormalDist(-(SPREAD**2) / 2, SPREAD)  # of 1 in the mean
    places = [(number + 0.5) / options.rows for number in range(options.rows)]
    drawn = [round(options.length * 2.718281828 ** logarithm.inv_cdf(place)) for place in places]
    lengths = [min(max(length, shortest), longest) for length in drawn]
    random.Random(SEED).shuffle(lengths)  # noqa: S311 no secret
    return lengths


def make_rows(lengths: Sequence[int], vocab: int) -> list[list[int]]:
    """Make rows of random tokens as the tokenizer makes them: [CLS] text [SEP], start token."""
    draw = random.Random(SEED)  # noqa: S311 no secret
    cls, sep = (SPECIAL_TOKENS.index(name) for name in ("[CLS]", "[SEP]"))
    words = range(len(SPECIAL_TOKENS), vocab)
    return [[cls, *draw.choices(words, k=length - 3), sep, cls] for length in lengths]


def native_batches(lengths: Sequence[int], options: BenchOptions) -> Batches:
    """Put rows into batches as the predict stage does."""
    predict = options.predict
    return plan_batches(lengths, predict.batch_size, predict.max_tokens_per_batch)


def example_batches(rows: int) -> Batches:
    """Put rows into batches as the example does."""
    starts = range(0, rows, EXAMPLE_BATCH_SIZE)
    return [list(range(start, min(start + EXAMPLE_BATCH_SIZE, rows))) for start in starts]


def padding_share(lengths: Sequence[int], batches: Batches) -> float:
    """Give the share of padding among the tokens of batches as wide as their longest rows."""
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    return 1 - sum(lengths[row] for batch in batches for row in batch) / padded
