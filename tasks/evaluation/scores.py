"""Metrics of generated questions against references, as PaddleNLP and sacreBLEU compute them.

BLEU of many rows is not a mean over the rows; it is computed from sums over them. So each row is
counted once (`count_rows`), and metrics of all rows or of a sample come from sums of these counts.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import lru_cache
from pathlib import PurePath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.engine.paddle.runtime import Untyped, import_paddlenlp
from tasks.store.tables import PREDICTIONS, read_batches

Scores = dict[str, float | str | int]

Counts = NDArray[np.float64]
"""float64 [n, 22]; each line has the counts of a row, or their sums over several rows."""

METRIC_NAMES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "sacrebleu_zh": "sacreBLEU-zh",
}
"""The usual name of each metric, by its key in `Scores` and metrics.json."""

METRICS = tuple(METRIC_NAMES)
HEADLINE_METRICS = ("bleu_4", "rouge_l", "sacrebleu_zh")
"""The metrics in the summary of a run."""

_ORDERS = 4  # n-grams of 1 to 4 tokens
# Columns of Counts. Either BLEU: n-grams found in the reference by order, n-grams by order, tokens,
# tokens of the reference.
_BLEU, _SACREBLEU, _ROUGE, _ROWS = slice(0, 10), slice(10, 20), 20, 21
_BLEU_COLUMNS = 2 * _ORDERS + 2
_COLUMNS = 22
_SMOOTHING = "exp"


def score_file(predictions: PurePath) -> Scores:
    """Return the `score_pairs` of a Parquet file's columns `question` and `reference`.

    Rows without a reference are ignored; at least one must have one.
    """
    schema = pa.schema([PREDICTIONS.field(name) for name in ("question", "reference")])
    rows = pa.Table.from_batches(read_batches(predictions, schema.names), schema).drop_null()
    columns = (column.to_pylist() for column in rows.columns)
    return score_pairs(list(zip(*columns, strict=True)))


def score_pairs(pairs: Sequence[tuple[str, str]]) -> Scores:
    """Return the metrics of at least one (question, reference) pair. Imports PaddleNLP.

    The keys are `references` (the number of pairs), and on a scale of 0 to 100 `bleu_1` … `bleu_4`
    (`paddlenlp.metrics.BLEU` over `BasicTokenizer` tokens, as in the question-generation example),
    `rouge_l` (`paddlenlp.metrics.RougeL` over the same tokens) and `sacrebleu_zh`, whose
    `sacrebleu_signature` says how it was computed.
    """
    scores = score_counts(count_rows(pairs).sum(axis=0, keepdims=True))[0].tolist()
    rounded = {name: round(score, 4) for name, score in zip(METRICS, scores, strict=True)}
    return {"references": len(pairs), **rounded, "sacrebleu_signature": _signature()}


def count_rows(pairs: Sequence[tuple[str, str]]) -> Counts:
    """Return the counts of (question, reference) pairs, float64 [pairs, 22]. Imports PaddleNLP.

    Equal pairs, and equal texts, that follow each other are processed only once.
    """
    count = lru_cache(maxsize=1)(_row_counter())
    lines = (count(question, reference) for question, reference in pairs)
    return np.fromiter(lines, np.dtype((np.float64, _COLUMNS)), len(pairs))


def score_counts(sums: Counts) -> NDArray[np.float64]:
    """Return the `METRICS` of each line of `sums`: float64 [lines, 6], 0 to 100."""
    rouge = 100 * sums[:, _ROUGE] / sums[:, _ROWS]
    sacrebleu = _sacrebleu(sums[:, _SACREBLEU], effective_order=False)
    return np.column_stack([_bleu(sums[:, _BLEU]), rouge, sacrebleu])


def score_each(rows: Counts) -> NDArray[np.float64]:
    """Return sacreBLEU's sentence BLEU of each row, float64 [rows], 0 to 100.

    `sentence_bleu` computes the same from texts. N-gram orders that a question is too short for do
    not count (`effective_order`), as sacreBLEU recommends for sentences.
    """
    return _sacrebleu(rows[:, _SACREBLEU], effective_order=True)


def sentence_bleu(pairs: Iterable[tuple[str, str]]) -> tuple[NDArray[np.float64], str]:
    """Return the `score_each` of (question, reference) pairs, computed without PaddleNLP.

    Returns:
        The BLEUs, float64 [pairs], and sacreBLEU's signature, which says how they were computed.
    """
    count = _character_counter()
    lines = (count(question, reference) for question, reference in pairs)
    counts: Counts = np.fromiter(lines, np.dtype((np.float64, _BLEU_COLUMNS)))
    return _sacrebleu(counts, effective_order=True), _signature(effective_order=True)


def lcs_length(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Return the length of the longest common subsequence of two sequences.

    The bits of one integer hold a whole row of the usual table (H. Hyyrö, Bit-parallel LCS-length
    computation revisited, AWOCA 2004).
    """
    places: dict[Hashable, int] = {}
    for place, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << place
    every = (1 << len(one)) - 1
    unused = every
    for token in other:
        found = unused & places.get(token, 0)
        unused = (unused + found | unused - found) & every
    return len(one) - unused.bit_count()


def _row_counter() -> Callable[[str, str], list[float]]:
    """Return a function that counts a question and its reference, tokenized as the libraries do."""
    paddlenlp = import_paddlenlp("metrics")
    tokenize = paddlenlp.transformers.BasicTokenizer().tokenize
    count_characters = _character_counter()
    base: Untyped = paddlenlp.metrics.RougeL

    class RougeL(base):  # type: ignore[misc]
        """PaddleNLP's, with an LCS that takes less than a tenth of the time."""

        def lcs(self, string: Sequence[str], sub: Sequence[str]) -> int:
            return lcs_length(string, sub)

    rouge = RougeL()

    # Keeps two texts, so that the next question for the same reference finds it.
    cut = lru_cache(maxsize=2)(lambda text: _Cut(tokenize(text)))

    def count(question: str, reference: str) -> list[float]:
        found, expected = cut(question), cut(reference)
        rouge.reset()
        rouge.add_inst(found.tokens, [expected.tokens])
        characters = count_characters(question, reference)
        return [*found.count(expected), *characters, rouge.score(), 1]

    return count


def _character_counter() -> Callable[[str, str], list[int]]:
    """Return a function that counts a question and its reference as sacreBLEU-zh does."""
    from sacrebleu.metrics.bleu import BLEU

    tokenize = BLEU(tokenize="zh").tokenizer
    cut = lru_cache(maxsize=2)(lambda text: _Cut(tokenize(text).split()))
    return lambda question, reference: cut(question).count(cut(reference))


class _Cut:
    """The tokens of a text, and the number of occurrences of its n-grams of every order."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tokens
        self.ngrams = Counter(
            ngram
            for order in range(1, _ORDERS + 1)
            for ngram in zip(*(tokens[start:] for start in range(order)), strict=False)
        )

    def count(self, reference: _Cut) -> list[int]:
        """Return the ten columns of a BLEU; matches are clipped to the counts in the reference."""
        found, length = [0] * _ORDERS, len(self.tokens)
        for ngram, times in self.ngrams.items():
            found[len(ngram) - 1] += min(times, reference.ngrams[ngram])
        totals = [max(length - order, 0) for order in range(_ORDERS)]
        return [*found, *totals, length, len(reference.tokens)]


def _bleu(sums: Counts) -> NDArray[np.float64]:
    """Return BLEU-1 to BLEU-4, float64 [lines, 4], as `paddlenlp.metrics.BLEU` computes them.

    The formula is that of K. Papineni et al., BLEU, ACL 2002; a precision of 0 is replaced by the
    smallest float, so that its logarithm exists.
    """
    matches, ngrams = sums[:, :_ORDERS], sums[:, _ORDERS : 2 * _ORDERS]
    length, reference = np.maximum(sums[:, -2:-1], 1), sums[:, -1:]
    precisions = np.maximum(matches / np.maximum(ngrams, 1), sys.float_info.min)
    logarithms = np.cumsum(np.log(precisions), axis=1) / np.arange(1, _ORDERS + 1)
    penalties = np.minimum(1 - reference / length, 0)
    scores: NDArray[np.float64] = 100 * np.exp(penalties) * np.exp(logarithms)
    return scores


def _sacrebleu(sums: NDArray[np.float64], effective_order: bool) -> NDArray[np.float64]:
    """Return sacreBLEU's BLEU, float64 [lines], of counts, [lines, 10]."""
    from sacrebleu.metrics.bleu import BLEU

    def score(line: list[float]) -> float:
        found = BLEU.compute_bleu(
            correct=line[:_ORDERS],
            total=line[_ORDERS:-2],
            sys_len=int(line[-2]),
            ref_len=int(line[-1]),
            smooth_method=_SMOOTHING,
            effective_order=effective_order,
        )
        return float(found.score)

    return np.array([score(line.tolist()) for line in sums])


def _signature(effective_order: bool = False) -> str:
    """Return sacreBLEU's signature; a metric has one only after it has scored something."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize="zh", smooth_method=_SMOOTHING, effective_order=effective_order)
    metric.corpus_score(["问"], [["问"]])
    return str(metric.get_signature())
