"""What metrics are computed from: matches of questions and references, counted row by row."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tasks.engine.tokenization.words import WordSplitter
from tasks.evaluation.characters import CharacterSplitter
from tasks.evaluation.matches import ORDERS, count_matches, measure_common
from tasks.evaluation.tokens import Integers, Tokenizer, TokenLists
from tasks.quality.texts.normal_form import Normalizer, as_strings

Pair = tuple[str, str]
"""A question and its reference."""

Counts = NDArray[np.float64]
"""float64 [n, 23]; each line has the counts of a row, or their sums over several rows."""

# Columns of Counts. Either BLEU: n-grams found in the reference by order, n-grams by order, tokens,
# tokens of the reference. EXACT is 1 if question and reference have the same normal form.
BLEU, SACREBLEU, ROUGE, ROWS, EXACT = slice(0, 10), slice(10, 20), 20, 21, 22
BLEU_COLUMNS = 2 * ORDERS + 2
COLUMNS = 23
GAMMA = 1.2  # the weight of recall in ROUGE-L
PAIRS_AT_A_TIME = 1 << 12


def count_pairs(pairs: Sequence[Pair]) -> Counts:
    """Return the counts of pairs, float64 [pairs, 23].

    The columns `BLEU` and `ROUGE` are over the words of PaddleNLP's `BasicTokenizer`, `SACREBLEU`
    over the tokens of sacreBLEU's tokenizer `zh`.
    """
    counts = np.ones((len(pairs), COLUMNS))
    for part in _parts(len(pairs)):
        words = _Tokens.of(pairs[part], _words())
        counts[part, BLEU] = words.count_matches()
        counts[part, SACREBLEU] = _Tokens.of(pairs[part], _characters()).count_matches()
        counts[part, ROUGE] = words.score_rouge()
        counts[part, EXACT] = _are_equal(pairs[part])
    return counts


def _are_equal(pairs: Sequence[Pair]) -> NDArray[np.bool_]:
    """Return whether a question and its reference have the same normal form, bool [pairs]."""
    sides = (as_strings(_normalizer().normalize_all(texts)) for texts in zip(*pairs, strict=True))
    return np.fromiter(map(operator.eq, *sides), np.bool_, len(pairs))


@cache
def _normalizer() -> Normalizer:
    return Normalizer()


def count_characters(pairs: Sequence[Pair]) -> Counts:
    """Return the columns `SACREBLEU` of the counts of pairs, float64 [pairs, 10]."""
    counts = np.empty((len(pairs), BLEU_COLUMNS))
    for part in _parts(len(pairs)):
        counts[part] = _Tokens.of(pairs[part], _characters()).count_matches()
    return counts


@cache
def _words() -> Tokenizer:
    return Tokenizer(WordSplitter().split)


@cache
def _characters() -> Tokenizer:
    return Tokenizer(CharacterSplitter().split)


def _parts(rows: int) -> Iterator[slice]:
    """Yield slices of `rows` rows, so that memory does not grow with them."""
    for start in range(0, rows, PAIRS_AT_A_TIME):
        yield slice(start, start + PAIRS_AT_A_TIME)


@dataclass(frozen=True)
class _Tokens:
    """The tokens of questions and of their references."""

    questions: TokenLists
    references: TokenLists

    @classmethod
    def of(cls, pairs: Sequence[Pair], tokenizer: Tokenizer) -> _Tokens:
        """Tokenize pairs; equal texts are tokenized once."""
        numbers = {text: n for n, text in enumerate(dict.fromkeys(chain.from_iterable(pairs)))}
        found = tokenizer.tokenize(list(numbers))
        sides = ([numbers[pair[side]] for pair in pairs] for side in (0, 1))
        return cls(*(found[np.array(side, np.int64)] for side in sides))

    def count_matches(self) -> Integers:
        """Return the ten columns of a BLEU, int64 [pairs, 10]."""
        lengths = self.questions.lengths, self.references.lengths
        totals = np.maximum(lengths[0][:, None] - np.arange(ORDERS), 0)
        matches = count_matches(self.questions, self.references)
        return np.column_stack([matches, totals, *lengths])

    def score_rouge(self) -> NDArray[np.float64]:
        """Return ROUGE-L, float64 [pairs], 0 to 1, as `paddlenlp.metrics.RougeL` computes it."""
        length, expected = self.questions.lengths, self.references.lengths
        common = measure_common(self.questions, self.references).astype(np.float64)
        precision, recall = common / np.maximum(length, 1), common / np.maximum(expected, 1)
        weighted = recall + GAMMA**2 * precision
        scores: NDArray[np.float64] = (1 + GAMMA**2) * precision * recall
        return np.divide(scores, weighted, out=np.zeros_like(scores), where=common > 0)
