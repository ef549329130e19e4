from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.quality.texts.normal_form import Normalizer, as_strings, normalize

ODD = (
    "aA1，,。.…  \t\0　①㎡℃½ßİée\u0301"
    "ｶﾞカ\u3099か\u200d가\u1100\u1161\u11a8한ﬁ+#＝=\u0338％%٣ไ泰山Ａ１\u034f\u00ad\u0345Å🙂\ufe0f"
)
TEXTS = st.lists(st.one_of(st.text(max_size=12), st.text(st.sampled_from(ODD), max_size=12)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("维纳恩湖 位于哪个国家？", "维纳恩湖位于哪个国家"),
        ("Ｇ7：1,000 Km…", "g7 1000 km"),
        ("在 2018 年", "在2018年"),
        ("3.5 is not 35", "3 5 is not 35"),
        ("1，000，000", "1000000"),
        ("1, 000", "1 000"),
        ("  Who  was\tthe U.S. president?! ", "who was the u s president"),
        ("C++与C", "c++与c"),
        ("①㎡ ½", "1m2 1⁄2"),
        ("ｶﾞﾗｽ", "ガラス"),
        ("ᄀ:ᅡ?0", "가0"),
        ("=:\u0338?0", "≠0"),
        ("？！…", ""),
        ("", ""),
    ],
)
def test_width_case_spaces_and_punctuation_make_no_difference(text: str, expected: str) -> None:
    assert normalize(text) == expected


@given(st.one_of(st.text(), st.text(st.sampled_from(ODD))))
@example("ᄀ:ᅡ?0")
@example("=:\u0338?0")
def test_a_normal_form_is_its_own_normal_form(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@given(TEXTS)
@example(["ᄀ:ᅡ?0", "=:\u0338?0"])
def test_many_texts_get_the_normal_forms_of_the_definition(texts: list[str]) -> None:
    assert as_strings(Normalizer().normalize_all(texts)) == [normalize(text) for text in texts]


def test_every_character_gets_the_normal_form_of_the_definition() -> None:
    points = (*range(0xD800), *range(0xE000, 0x12000), *range(0x1D400, 0x1FC00))
    every = [chr(point) for point in points]
    assert as_strings(Normalizer().normalize_all(every)) == [normalize(char) for char in every]
