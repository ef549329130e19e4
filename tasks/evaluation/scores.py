"""Metrics of generated questions against references, as PaddleNLP and sacreBLEU compute them.

BLEU of many rows is not a mean over the rows; it is computed from sums over them. So each row is
counted once (`counts.py`), and metrics of all rows or of a sample come from sums of these counts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.environment import without
from tasks.evaluation.characters import UNUSED
from tasks.evaluation.counts import (
    BLEU,
    COLUMNS,
    EXACT,
    ROUGE,
    ROWS,
    SACREBLEU,
    Counts,
    Pair,
    count_characters,
    count_pairs,
)
from tasks.evaluation.matches import ORDERS
from tasks.parallel.rows import ALONE, RowHelpers
from tasks.store.parted.blocks import Block, list_blocks, read_block

Scores = dict[str, float | str | int]

METRIC_NAMES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "sacrebleu_zh": "sacreBLEU-zh",
    "exact_match": "exact match",
}
"""The usual name of each metric, by its key in `Scores` and metrics.json."""

METRICS = tuple(METRIC_NAMES)
HEADLINE_METRICS = ("bleu_4", "rouge_l", "sacrebleu_zh", "exact_match")
"""The metrics in the summary of a run."""

_SMOOTHING = "exp"


def score_file(predictions: PurePath, helpers: RowHelpers = ALONE) -> Scores:
    """Return the metrics of a Parquet file's columns `question` and `reference`.

    Rows without a reference are ignored; at least one must have one. See `score_pairs`.
    """
    sums = np.zeros((1, COLUMNS))
    for some in helpers.compute(_sum_block, list_blocks(predictions)):
        sums += some
    return _score(sums)


def _sum_block(block: Block) -> Iterator[Counts]:
    """Yield the sums over the rows of each batch of a block, float64 [23]."""
    for batch in read_block(block, ["question", "reference"]):
        rows = pa.Table.from_batches([batch]).drop_null()
        questions, references = (rows[name].to_pylist() for name in ("question", "reference"))
        yield count_pairs(list(zip(questions, references, strict=True))).sum(axis=0)


def score_pairs(pairs: Sequence[Pair]) -> Scores:
    """Return the metrics of at least one (question, reference) pair.

    The keys are `references` (the number of pairs), and on a scale of 0 to 100 `bleu_1` … `bleu_4`
    (`paddlenlp.metrics.BLEU` over `BasicTokenizer` tokens, as in the question-generation example),
    `rouge_l` (`paddlenlp.metrics.RougeL` over the same tokens), `sacrebleu_zh`, whose
    `sacrebleu_signature` says how it was computed, and `exact_match`, the share of the questions
    that have the normal form of their reference (`tasks.quality.texts.normal_form`).
    """
    return _score(count_pairs(pairs).sum(axis=0, keepdims=True))


def score_counts(sums: Counts) -> NDArray[np.float64]:
    """Return the `METRICS` of each line of `sums`: float64 [lines, 7], 0 to 100."""
    rouge, exact = (100 * sums[:, column] / sums[:, ROWS] for column in (ROUGE, EXACT))
    sacrebleu = _sacrebleu(sums[:, SACREBLEU], effective_order=False)
    return np.column_stack([_bleu(sums[:, BLEU]), rouge, sacrebleu, exact])


def score_each(rows: Counts) -> NDArray[np.float64]:
    """Return sacreBLEU's sentence BLEU of each row, float64 [rows], 0 to 100.

    `sentence_bleu` computes the same from texts. N-gram orders that a question is too short for do
    not count (`effective_order`), as sacreBLEU recommends for sentences.
    """
    return _sacrebleu(rows[:, SACREBLEU], effective_order=True)


def sentence_bleu(pairs: Sequence[Pair]) -> tuple[NDArray[np.float64], str]:
    """Return the `score_each` of (question, reference) pairs.

    Returns:
        The BLEUs, float64 [pairs], and sacreBLEU's signature, which says how they were computed.
    """
    counts = count_characters(pairs)
    return _sacrebleu(counts, effective_order=True), _signature(effective_order=True)


def _score(sums: Counts) -> Scores:
    """Return the metrics of sums over all rows, float64 [1, 23], rounded to four digits."""
    scores = score_counts(sums)[0].tolist()
    rounded = {name: round(score, 4) for name, score in zip(METRICS, scores, strict=True)}
    return {"references": int(sums[0, ROWS]), **rounded, "sacrebleu_signature": _signature()}


def _bleu(sums: Counts) -> NDArray[np.float64]:
    """Return BLEU-1 to BLEU-4, float64 [lines, 4], as `paddlenlp.metrics.BLEU` computes them.

    The formula is that of K. Papineni et al., BLEU, ACL 2002; a precision of 0 is replaced by the
    smallest float, so that its logarithm exists.
    """
    matches, ngrams = sums[:, :ORDERS], sums[:, ORDERS : 2 * ORDERS]
    length, reference = np.maximum(sums[:, -2:-1], 1), sums[:, -1:]
    precisions = np.maximum(matches / np.maximum(ngrams, 1), sys.float_info.min)
    logarithms = np.cumsum(np.log(precisions), axis=1) / np.arange(1, ORDERS + 1)
    penalties = np.minimum(1 - reference / length, 0)
    scores: NDArray[np.float64] = 100 * np.exp(penalties) * np.exp(logarithms)
    return scores


def _sacrebleu(sums: NDArray[np.float64], effective_order: bool) -> NDArray[np.float64]:
    """Return sacreBLEU's BLEU, float64 [lines], of counts, [lines, 10].

    Source: `compute_bleu` in `sacrebleu/metrics/bleu.py`, sacreBLEU 2, smoothed by `_SMOOTHING`:
    the first order without a match counts as half a match, the next as a quarter (and so on).
    """
    matches, ngrams = sums[:, :ORDERS], sums[:, ORDERS : 2 * ORDERS]
    length, reference = sums[:, -2], sums[:, -1]
    is_counted, misses = ngrams > 0, np.cumsum(matches == 0, axis=1)
    smoothed = np.where(matches == 0, 0.5**misses, matches)
    logarithms = np.log(100 * smoothed / np.maximum(ngrams, 1)) * is_counted
    orders = np.count_nonzero(is_counted, axis=1) if effective_order else ORDERS
    penalty = np.exp(np.minimum(1 - reference / np.maximum(length, 1), 0))
    scores = penalty * np.exp(logarithms.sum(axis=1) / np.maximum(orders, 1))
    is_scored = matches.any(axis=1) & (effective_order | is_counted.all(axis=1))
    return np.where(is_scored, scores, 0.0)


def _signature(effective_order: bool = False) -> str:
    """Return sacreBLEU's signature; a metric has one only after it has scored something."""
    with without(*UNUSED):
        from sacrebleu.metrics.bleu import BLEU as SacreBLEU  # noqa: N811 there are two BLEU

    metric = SacreBLEU(tokenize="zh", smooth_method=_SMOOTHING, effective_order=effective_order)
    metric.corpus_score(["问"], [["问"]])
    return str(metric.get_signature())
