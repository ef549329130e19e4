"""What metrics are computed from: matches of questions and references, counted row by row.

Many rows are counted at once in arrays: a Python loop over n-grams takes ten times as long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from tasks.engine.tokenization.words import WordSplitter
from tasks.evaluation.characters import CharacterSplitter

Pair = tuple[str, str]
"""A question and its reference."""

Counts = NDArray[np.float64]
"""float64 [n, 22]; each line has the counts of a row, or their sums over several rows."""

Integers = NDArray[np.int64]
Tokenize = Callable[[str], Sequence[str]]

ORDERS = 4  # n-grams of 1 to 4 tokens
# Columns of Counts. Either BLEU: n-grams found in the reference by order, n-grams by order, tokens,
# tokens of the reference.
BLEU, SACREBLEU, ROUGE, ROWS = slice(0, 10), slice(10, 20), 20, 21
BLEU_COLUMNS = 2 * ORDERS + 2
COLUMNS = 22
GAMMA = 1.2  # the weight of recall in ROUGE-L
PAIRS_AT_A_TIME = 1 << 12


def count_pairs(pairs: Sequence[Pair]) -> Counts:
    """Return the counts of pairs, float64 [pairs, 22].

    The columns `BLEU` and `ROUGE` are over the words of PaddleNLP's `BasicTokenizer`, `SACREBLEU`
    over the tokens of sacreBLEU's tokenizer `zh`.
    """
    counts = np.ones((len(pairs), COLUMNS))
    split, sacrebleu = WordSplitter().split, CharacterSplitter().split
    for part in _parts(len(pairs)):
        words = _Tokens.of(pairs[part], split)
        counts[part, BLEU] = words.count_matches()
        counts[part, SACREBLEU] = _Tokens.of(pairs[part], sacrebleu).count_matches()
        counts[part, ROUGE] = words.score_rouge()
    return counts


def count_characters(pairs: Sequence[Pair]) -> Counts:
    """Return the columns `SACREBLEU` of the counts of pairs, float64 [pairs, 10]."""
    counts, tokenize = np.empty((len(pairs), BLEU_COLUMNS)), CharacterSplitter().split
    for part in _parts(len(pairs)):
        counts[part] = _Tokens.of(pairs[part], tokenize).count_matches()
    return counts


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


def _parts(rows: int) -> Iterator[slice]:
    """Yield slices of `rows` rows, so that memory does not grow with them."""
    for start in range(0, rows, PAIRS_AT_A_TIME):
        yield slice(start, start + PAIRS_AT_A_TIME)


@dataclass(frozen=True)
class _Tokens:
    """The tokens of questions and of their references, each a list of token ids."""

    questions: list[list[int]]
    references: list[list[int]]

    @classmethod
    def of(cls, pairs: Sequence[Pair], tokenize: Tokenize) -> _Tokens:
        """Tokenize pairs; equal texts are tokenized once."""
        ids: defaultdict[str, int] = defaultdict(count().__next__)
        texts = dict.fromkeys(chain.from_iterable(pairs))
        known = {text: list(map(ids.__getitem__, tokenize(text))) for text in texts}
        return cls([known[pair[0]] for pair in pairs], [known[pair[1]] for pair in pairs])

    def count_matches(self) -> Integers:
        """Return the ten columns of a BLEU, int64 [pairs, 10].

        Matches are clipped to the counts in the reference (K. Papineni et al., BLEU, ACL 2002).
        """
        lengths = [np.array(list(map(len, texts))) for texts in (self.questions, self.references)]
        totals = np.maximum(lengths[0][:, None] - np.arange(ORDERS), 0)
        matches = [self._count(text, ngrams) for text, ngrams in self._ngrams()]
        return np.column_stack([*matches, totals, *lengths])

    def score_rouge(self) -> NDArray[np.float64]:
        """Return ROUGE-L, float64 [pairs], 0 to 1, as `paddlenlp.metrics.RougeL` computes it."""
        both = zip(self.questions, self.references, strict=True)
        lines = [(lcs_length(*pair), *map(len, pair)) for pair in both]
        common, length, expected = np.array(lines, dtype=np.float64).T
        precision, recall = common / np.maximum(length, 1), common / np.maximum(expected, 1)
        weighted = recall + GAMMA**2 * precision
        scores: NDArray[np.float64] = (1 + GAMMA**2) * precision * recall
        return np.divide(scores, weighted, out=np.zeros_like(scores), where=common > 0)

    def _ngrams(self) -> Iterator[tuple[Integers, Integers]]:
        """Yield for each order the text and the id of every n-gram, each int64 [n-grams].

        Texts are numbered through, first the questions; equal n-grams have equal ids.
        """
        texts = [*self.questions, *self.references]
        lengths = np.array(list(map(len, texts)))
        tokens = np.fromiter(chain.from_iterable(texts), np.int64, int(lengths.sum()))
        text = np.repeat(np.arange(len(texts)), lengths)
        ngrams = tokens
        for order in range(ORDERS):
            if order:  # extend the n-grams of the order before by the next token, if there is one
                ngrams = ngrams[:-1] * (tokens.max(initial=0) + 1) + tokens[order:]
                ngrams = np.unique(ngrams, return_inverse=True)[1]
            is_whole = text[: len(ngrams)] == text[order:]
            yield text[: len(ngrams)][is_whole], ngrams[is_whole]

    def _count(self, text: Integers, ngrams: Integers) -> Integers:
        """Return how many n-grams of each question its reference has, int64 [pairs]."""
        pairs, size = len(self.questions), int(ngrams.max(initial=0)) + 1
        keys, is_question = text % pairs * size + ngrams, text < pairs
        found, times = np.unique(keys[is_question], return_counts=True)
        expected, most = np.unique(keys[~is_question], return_counts=True)
        common, at, of = np.intersect1d(found, expected, assume_unique=True, return_indices=True)
        matches = np.zeros(pairs, np.int64)
        np.add.at(matches, common // size, np.minimum(times[at], most[of]))
        return matches
