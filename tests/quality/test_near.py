from __future__ import annotations

from tempfile import TemporaryFile

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.quality.near import (
    CHARACTERS,
    MOST_WITH_RUN,
    NONE,
    THRESHOLD,
    find_near,
    find_runs,
)
from tasks.quality.texts.normal_form import Normalizer, normalize
from tasks.quality.texts.rows_file import RowsFile

ANY = st.text(st.sampled_from("泰山在哪里the of 2018+？"), max_size=12).filter(normalize)


def runs_of(text: str, size: int) -> set[str]:
    return {text[at : at + size] for at in range(len(text) - size + 1)}


def digits(text: str) -> str:
    return "".join(char for char in normalize(text) if char.isdigit())


def similarity(one: str, other: str) -> tuple[int, int]:
    """Return the Jaccard similarity of two questions as a fraction."""
    if digits(one) != digits(other):
        return 0, 1
    a, b = (runs_of(f"\0\0{normalize(text)}\0\0", CHARACTERS) for text in (one, other))
    return len(a & b), len(a | b)


def find(texts: list[str]) -> list[int]:
    with TemporaryFile() as file:
        runs = RowsFile(file)
        runs.add(find_runs(Normalizer().normalize_all(texts)))
        return find_near(runs, np.ones(len(texts), np.bool_)).tolist()


ENDS = ["吗", "呢", "", "2018年", "2019年", "里", "the end"]
LONG = "北京大学的第一任校长是谁以及他在任期间做了哪些重要的事情"
NEARLY = st.builds(
    lambda start, skipped, end: LONG[start:skipped] + LONG[skipped + 1 :] + end,
    st.integers(0, 3),
    st.integers(4, 26),
    st.sampled_from(ENDS),
)


@given(st.lists(st.one_of(NEARLY, ANY), max_size=12))
def test_every_near_question_is_found_and_its_original_has_none(texts: list[str]) -> None:
    texts = list({normalize(text): text for text in texts}.values())
    expected: list[int] = []
    for text in texts:
        originals = [at for at, one in enumerate(expected) if one == NONE]
        shares = ((at, *similarity(texts[at], text)) for at in originals)
        near = (at for at, n, d in shares if n * THRESHOLD[1] >= d * THRESHOLD[0])
        expected.append(next(near, NONE))
    assert find(texts) == expected


def test_among_many_questions_of_one_form_one_with_the_same_name_is_found() -> None:
    form = "{}究竟是在哪一年获得了诺贝尔物理学奖的呢"
    names = [f"{chr(0x4E00 + at)}{chr(0x5E00 + at)}姓" for at in range(3 * MOST_WITH_RUN)]
    texts = [form.format(name) for name in names] + [form.format(names[-1]) + "啊"]
    assert similarity(texts[0], texts[1]) == (20, 28)  # less than the threshold
    assert find(texts) == [NONE] * len(names) + [len(names) - 1]
