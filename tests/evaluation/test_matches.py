"""Matches counted in arrays, and those of longer texts, compared with the textbook."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluation.matches import MOST_TOKENS, count_matches, lcs_length, measure_common
from tasks.evaluation.tokens import TokenLists

SHORT = st.lists(st.integers(0, 3), max_size=9)
LONG = st.builds(lambda some, times: some * times, SHORT, st.integers(1, 2 * MOST_TOKENS // 9))
PAIRS = st.lists(st.tuples(SHORT | LONG, SHORT | LONG), max_size=6)


def in_arrays(lists: list[list[int]]) -> TokenLists:
    lengths = np.array([len(one) for one in lists], np.int64)
    ids = np.array([token for one in lists for token in one], np.int32)
    return TokenLists(ids, np.cumsum(lengths) - lengths, lengths)


def textbook_matches(question: list[int], reference: list[int], order: int) -> int:
    """Cross each n-gram of the question out in the reference, if it is still there."""
    left = [reference[at : at + order] for at in range(len(reference) - order + 1)]
    matches = 0
    for at in range(len(question) - order + 1):
        if (ngram := question[at : at + order]) in left:
            left.remove(ngram)
            matches += 1
    return matches


def textbook_length(a: list[int], b: list[int]) -> int:
    lengths = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            longest = max(lengths[i, j + 1], lengths[i + 1, j])
            lengths[i + 1, j + 1] = lengths[i, j] + 1 if one == other else longest
    return int(lengths[-1, -1])


@given(PAIRS)
def test_matches_of_n_grams_are_those_of_the_textbook(
    pairs: list[tuple[list[int], list[int]]],
) -> None:
    found = count_matches(*(in_arrays([pair[side] for pair in pairs]) for side in (0, 1)))
    assert found.tolist() == [[textbook_matches(*pair, n) for n in (1, 2, 3, 4)] for pair in pairs]


@given(PAIRS)
def test_the_longest_common_subsequence_is_that_of_the_textbook(
    pairs: list[tuple[list[int], list[int]]],
) -> None:
    found = measure_common(*(in_arrays([pair[side] for pair in pairs]) for side in (0, 1))).tolist()
    assert found == [textbook_length(*pair) for pair in pairs]
    assert found == [lcs_length(*pair) for pair in pairs]


def test_texts_at_the_limit_of_the_arrays_are_measured_like_others() -> None:
    tokens = list(range(MOST_TOKENS + 1))
    lengths = [MOST_TOKENS - 1, MOST_TOKENS, MOST_TOKENS + 1]
    texts = in_arrays([tokens[:length] for length in lengths])
    assert measure_common(texts, texts).tolist() == lengths
    assert count_matches(texts, texts).tolist() == [[one - n for n in range(4)] for one in lengths]
