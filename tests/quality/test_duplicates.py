from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.quality.duplicates import Duplicates, find_duplicates
from tasks.quality.near import NONE
from tasks.quality.texts.normal_form import Normalizer

LONG = "北京大学的第一任校长是谁以及他在任期间做了哪些重要的事情？"
ENGLISH = "Which river flows through the city of Cologne in the west of Germany?"


def find(texts: list[str], size: int = 100) -> Duplicates:
    """Return the originals of questions whose rows are 10, 11, …, in parts of `size`."""
    parts = (
        (10 + np.arange(at, min(at + size, len(texts))), texts[at : at + size])
        for at in range(0, len(texts), size)
    )
    return find_duplicates(parts, Normalizer(), Path(gettempdir()))


@pytest.mark.parametrize(
    ("first", "second", "is_equal", "is_near"),
    [
        ("泰山在哪里？", "泰山在哪里", True, False),
        ("泰山在哪里？", " 泰山 在哪里?", True, False),
        ("Where is Mt. Tai?", "where  is MT Tai", True, False),
        ("ＡＢＣ是什么？", "abc是什么？", True, False),
        ("泰山在哪里？", "华山在哪里？", False, False),
        ("Where is it?", "Where was it?", False, False),
        ("3.5米是多少？", "35米是多少？", False, False),
        (LONG, LONG.replace("重要的", "重要"), False, True),
        (LONG, LONG.replace("做了哪些重要的事情", "有什么成就"), False, False),
        (ENGLISH, ENGLISH.replace(" in the west", ", in the West"), True, False),
        (ENGLISH, ENGLISH.replace("the city of ", ""), False, True),
        (ENGLISH, ENGLISH.replace("Which river", "What river"), False, True),
        (LONG + "2018", LONG + "2019", False, False),  # digits tell questions apart
        (LONG, "他在任期间做了哪些重要的事情？", False, False),
        ("", "", False, False),
        ("？", "", False, False),
    ],
)
def test_a_question_names_the_row_of_the_same_question(
    first: str, second: str, is_equal: bool, is_near: bool
) -> None:
    found = find([first, "完全不同的另一个问题？", second])
    assert found.equal.tolist() == [NONE, NONE, 10 if is_equal else NONE]
    assert found.near.tolist() == [NONE, NONE, 10 if is_near else NONE]


def test_a_repetition_of_a_near_duplicate_has_both_originals() -> None:
    near = LONG.replace("重要的", "重要")
    found = find([LONG, near, near])
    assert (found.equal.tolist(), found.near.tolist()) == ([NONE, NONE, 11], [NONE, 10, 10])


def test_no_rows_have_no_originals() -> None:
    assert find([]).equal.tolist() == find([]).near.tolist() == []


def test_a_part_without_rows_changes_nothing() -> None:
    parts = [(np.arange(at), ["谁？", "谁"][:at]) for at in (0, 2, 0)]
    found = find_duplicates(parts, Normalizer(), Path(gettempdir()))
    assert found.equal.tolist() == [NONE, 0]


TEXTS = st.lists(
    st.builds(
        lambda start, skipped, end: LONG[start:skipped] + LONG[skipped + 1 :] + end,
        st.integers(0, 3),
        st.integers(4, 26),
        st.sampled_from(["", "?", "吗", "2018"]),
    ),
    max_size=20,
)


@given(TEXTS, st.integers(1, 20))
def test_duplicates_do_not_depend_on_the_parts(texts: list[str], size: int) -> None:
    whole, parts = find(texts), find(texts, size)
    assert parts.equal.tolist() == whole.equal.tolist()
    assert parts.near.tolist() == whole.near.tolist()


@given(TEXTS)
def test_originals_come_before_and_are_no_duplicates_themselves(texts: list[str]) -> None:
    found = find(texts)
    for row, equal, near in zip(range(10, 99), found.equal, found.near, strict=False):
        if equal != NONE:
            assert equal < row
            assert found.equal[equal - 10] == NONE
        if near != NONE:
            assert near < row
            assert found.equal[near - 10] == found.near[near - 10] == NONE
