from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.quality.repeats import measure_repeats
from tasks.quality.texts.normal_form import Normalizer, normalize
from tasks.quality.texts.rows import Rows
from tasks.quality.texts.words import compare, contains, split_words

WORDS = ["泰", "山", "在", "哪", "里", "the ", "of ", "2018 ", "19 ", "a ", "+", "？"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=9).map("".join)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=6)


def words_of(text: str) -> list[str]:
    """Return the words of a text, one by one."""
    words: list[str] = []
    is_open = False
    for char in normalize(text):
        is_latin = char.isascii() and char.isalnum()
        if char == " ":
            is_open = False
        elif is_latin and is_open:
            words[-1] += char
        else:
            words.append(char)
            is_open = is_latin
    return words


def split(*columns: list[str]) -> list[Rows]:
    normalizer = Normalizer()
    return split_words(*(normalizer.normalize_all(texts) for texts in columns))


def runs_of(words: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]


@given(PAIRS)
def test_what_two_texts_have_in_common_is_what_comparing_all_runs_finds(
    pairs: list[tuple[str, str]],
) -> None:
    texts, others = split([one for one, _ in pairs], [other for _, other in pairs])
    found = compare(texts, others)
    for row, (one, other) in enumerate(pairs):
        a, b = words_of(one), words_of(other)
        sizes = [size for size in range(1, len(a) + 1) if {*runs_of(a, size)} & {*runs_of(b, size)}]
        assert found.longest[row] == max(sizes, default=0)
        assert found.missing[row] == sum(word not in b for word in a)


@given(PAIRS)
def test_a_text_contains_a_part_if_it_has_its_words_in_a_row(pairs: list[tuple[str, str]]) -> None:
    texts, parts = split([one for one, _ in pairs], [other for _, other in pairs])
    expected = []
    for one, other in pairs:
        a, b = words_of(one), words_of(other)
        expected.append(tuple(b) in runs_of(a, len(b)))
    assert contains(texts, parts).tolist() == expected


@given(st.lists(TEXT, max_size=6))
def test_repeats_are_the_share_of_runs_of_three_words_that_were_there_before(
    texts: list[str],
) -> None:
    (rows,) = split(texts)
    for text, repeats in zip(texts, measure_repeats(rows), strict=True):
        runs = runs_of(words_of(text), 3)
        if runs:
            assert np.isclose(repeats, 1 - len({*runs}) / len(runs))
        else:
            assert np.isnan(repeats)


def test_a_text_of_more_words_than_a_byte_counts_is_compared() -> None:
    long = "".join(chr(0x4E00 + at) for at in range(700))
    texts, others = split([long, "山"], ["泰" + long, long])
    found = compare(texts, others)
    assert (found.longest.tolist(), found.missing.tolist()) == ([700, 0], [0, 1])
