"""The rows of a benchmark, and how contenders put them into batches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import NormalDist

from tasks.bench.options import SPECIAL_TOKENS, BenchOptions
from tasks.engine.batch import plan_batches

EXAMPLE_BATCH_SIZE = 8
"""Batch size of PaddleNLP's example, which keeps the file's order and halves its default of 16."""

SEED = 20
MEAN, SHORTEST, LONGEST = 270, 32, 512
SPREAD = 0.5  # of the logarithm

Batches = list[list[int]]


def row_lengths(options: BenchOptions) -> list[int]:
    """Return the number of tokens of each row, including the start token.

    Uneven lengths are quantiles of a log-normal distribution with mean `length` and a standard
    deviation of the logarithm of `SPREAD`, clipped to 32 … 512 tokens for a mean of 270 and in
    proportion for other means. Quantiles instead of samples make few rows as uneven as many. Their
    order is shuffled with a fixed seed.
    """
    if not options.uneven:
        return [options.length] * options.rows
    scale = options.length / MEAN
    shortest, longest = max(4, round(SHORTEST * scale)), max(4, round(LONGEST * scale))
    logarithm = NormalDist(-(SPREAD**2) / 2, SPREAD)  # so that the mean of the exponential is 1
    levels = [(number + 0.5) / options.rows for number in range(options.rows)]
    quantiles = [round(options.length * 2.718281828 ** logarithm.inv_cdf(p)) for p in levels]
    lengths = [min(max(length, shortest), longest) for length in quantiles]
    random.Random(SEED).shuffle(lengths)  # noqa: S311 no secret
    return lengths


def make_rows(lengths: Sequence[int], vocab: int) -> list[list[int]]:
    """Return rows of random token ids in the tokenizer's form: [CLS] text [SEP], start token."""
    draw = random.Random(SEED)  # noqa: S311 no secret
    cls, sep = (SPECIAL_TOKENS.index(name) for name in ("[CLS]", "[SEP]"))
    words = range(len(SPECIAL_TOKENS), vocab)
    return [[cls, *draw.choices(words, k=length - 3), sep, cls] for length in lengths]


def native_batches(lengths: Sequence[int], options: BenchOptions) -> Batches:
    """Return batches of row positions as the predict stage plans them."""
    predict = options.predict
    return plan_batches(lengths, predict.batch_size, predict.max_tokens_per_batch)


def example_batches(rows: int) -> Batches:
    """Return batches of row positions as PaddleNLP's example makes them."""
    starts = range(0, rows, EXAMPLE_BATCH_SIZE)
    return [list(range(start, min(start + EXAMPLE_BATCH_SIZE, rows))) for start in starts]


def padding_share(lengths: Sequence[int], batches: Batches) -> float:
    """Return the share of padding, if each batch is padded to its longest row; 0 to 1."""
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    return 1 - sum(lengths[row] for batch in batches for row in batch) / padded
