"""What questions have in common with their references: n-grams and subsequences of tokens.

Pairs of similar length are laid side by side in an array [tokens, tokens, pairs] that says which
token equals which, because a Python loop over the tokens of each pair takes ten times as long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.tokens import Integers, TokenLists

Laid = NDArray[np.int32]

ORDERS = 4  # n-grams of 1 to 4 tokens
MOST_TOKENS = 64  # of a text in the arrays, so that a uint64 has a bit for each
PAIRS_AT_A_TIME = 512


def count_matches(questions: TokenLists, references: TokenLists) -> Integers:
    """Return how many n-grams of each question its reference has, int64 [pairs, 4], by order.

    Matches are clipped to the counts in the reference (K. Papineni et al., BLEU, ACL 2002).
    """
    return _count(questions, references, ORDERS, _match_together, _match_one)


def measure_common(questions: TokenLists, references: TokenLists) -> Integers:
    """Return the length of each pair's longest common subsequence, int64 [pairs]."""
    return _count(questions, references, 1, _measure_together, lcs_length)[:, 0]


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


def _count(
    questions: TokenLists,
    references: TokenLists,
    columns: int,
    together: Callable[[Laid, Laid], Integers],
    one: Callable[[list[int], list[int]], object],
) -> Integers:
    """Return int64 [pairs, columns]; `together` counts in arrays, `one` a pair of longer texts."""
    longest = np.maximum(questions.lengths, references.lengths)
    found = np.zeros((longest.size, columns), np.int64)
    order = np.argsort(longest, kind="stable")
    short, long = np.split(order, [np.searchsorted(longest[order], MOST_TOKENS, "right")])
    for some in _parts(short):
        found[some] = together(questions[some].lay(-1), references[some].lay(-2))
    for which in long.tolist():
        found[which] = one(questions.read(which), references.read(which))
    return found


def _parts(places: Integers) -> Iterator[Integers]:
    for start in range(0, places.size, PAIRS_AT_A_TIME):
        yield places[start : start + PAIRS_AT_A_TIME]


def _match_together(questions: Laid, references: Laid) -> Integers:
    """Count the matches of short lists, int64 [pairs, 4].

    An n-gram of a question matches if the reference has more of it than the question before it.
    """
    in_reference = tokens = questions[:, None] == references[None]
    before = own = questions[:, None] == questions[None]
    own &= np.tri(len(questions), k=-1, dtype=np.bool_)[:, :, None]
    matches = np.empty((ORDERS, questions.shape[1]), np.int64)
    for order in range(ORDERS):
        if order:  # extend the n-grams of the order before by the next token, if there is one
            in_reference = in_reference[:-1, :-1] & tokens[order:, order:]
            before = before[:-1, :-1] & own[order:, order:]
        is_match = _add(before) < _add(in_reference)
        matches[order] = np.count_nonzero(is_match, axis=0)
    return matches.T


def _add(is_equal: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the sums over the second axis."""
    sums: NDArray[np.uint8] = is_equal.view(np.uint8).sum(axis=1, dtype=np.uint8)
    return sums


def _match_one(question: list[int], reference: list[int]) -> list[int]:
    def count(tokens: list[int], order: int) -> Counter[tuple[int, ...]]:
        return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))

    orders = range(1, ORDERS + 1)
    return [(count(question, n) & count(reference, n)).total() for n in orders]


def _measure_together(questions: Laid, references: Laid) -> Integers:
    """Measure short lists, int64 [pairs, 1], as `lcs_length` does."""
    is_equal = questions[:, None] == references[None]
    eights = np.packbits(is_equal, axis=1, bitorder="little").astype(np.uint64)
    places = np.zeros(questions.shape, np.uint64)
    for number in range(eights.shape[1]):
        places |= eights[:, number] << np.uint64(8 * number)
    unused = np.full(questions.shape[1], ~np.uint64(0))
    for place in places:
        found = unused & place
        unused = unused + found | unused - found
    bits = np.unpackbits(unused.view(np.uint8)).reshape(-1, 64)
    lengths: Integers = np.count_nonzero(bits == 0, axis=1)
    return lengths[:, None]
