from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.scaffold.columns import KNOWN, propose_fields


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["passage", "ans"], {"context": "passage", "answer": "ans"}),
        (["编号", "段落", "答案"], {"context": "段落", "answer": "答案", "id": "编号"}),
        (
            ["上下文", "问题", "参考答案", "问题编号"],
            {"context": "上下文", "answer": "参考答案", "reference": "问题", "id": "问题编号"},
        ),
        (["Text ", "Answer-Text"], {"context": "Text ", "answer": "Answer-Text"}),
        (["title", "context", "question"], {"context": "context", "reference": "question"}),
        (
            ["question_id", "doc_text", "goldAnswer", "question"],
            {
                "context": "doc_text",
                "answer": "goldAnswer",
                "reference": "question",
                "id": "question_id",
            },
        ),
        (["文章段落", "标准答案文本"], {"context": "文章段落", "answer": "标准答案文本"}),
        (["answer_id", "text"], {"context": "text", "id": "answer_id"}),
        (["text", "content"], {"context": "text"}),
        (["source", "段落", "答案"], {"context": "段落", "answer": "答案"}),
        (["source", "target"], {"context": "source", "reference": "target"}),
        (["spam", "eggs"], {}),
    ],
)
def test_columns_are_recognized_by_their_names(names: list[str], expected: dict[str, str]) -> None:
    assert propose_fields(names) == expected


@given(st.lists(st.text(max_size=8) | st.sampled_from(sum(KNOWN.values(), ())), max_size=6))
def test_each_role_gets_a_column_of_its_own(names: list[str]) -> None:
    proposed = propose_fields(names)
    assert set(proposed.values()) <= set(names)
    assert len(set(proposed.values())) == len(proposed)
    assert list(proposed) == [role for role in KNOWN if role in proposed]
