import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.load.templates import Role, fill_template, remove_target_prefix, target_prefix
from tasks.passages.records import Passage

PASSAGE = Passage(0, 1, "a", "长江很长。", "长江", None, "问题生成", ("新闻", "百科", "体育"))


@pytest.mark.parametrize(
    ("template", "source", "title"),
    [
        (0, "长江很长。", "长江"),
        (1, "答案：长江[SEP]上下文：长江很长。", None),
        (2, "答案：长江[SEP]上下文：长江很长。", None),
        (
            3,
            "这是一个问题生成任务，根据提供的答案和上下文，来生成问题。长江[SEP]上下文：长江很长。",
            None,
        ),
        (
            4,
            "问题生成<sep_token><cls_token>新闻<sep_token><cls_token>百科<sep_token>"
            "<cls_token>体育<sep_token><cls_token>答案：长江<sep_token><cls_token>"
            "上下文：长江很长。",
            None,
        ),
    ],
)
def test_template_gives_the_text_of_the_example(
    template: int, source: str, title: str | None
) -> None:
    text = fill_template(PASSAGE, template, "[SEP]")
    words = (f"<{one.text}>" if one.role is Role.MARKER else one.text for one in text.pieces)
    assert ("".join(words), text.title) == (source, title)


def test_unknown_template_is_refused() -> None:
    with pytest.raises(ValueError, match="no template 5"):
        fill_template(PASSAGE, 5, "[SEP]")


@pytest.mark.parametrize(
    ("template", "written", "question"),
    [
        (0, "问题：长江多长", "问题：长江多长"),
        (1, "问题：长江多长", "长江多长"),
        (2, "在已知答案的前提下，问题：长江多长", "长江多长"),
        (3, "问题：长江多长", "长江多长"),
        (4, "问题：长江多长", "长江多长"),
        # str.strip(characters) would remove more than the prefix of these
        (1, "问题：题目的答案在哪里提问", "题目的答案在哪里提问"),
        (2, "在已知答案的前提下，问题：下的是什么问题", "下的是什么问题"),
        (1, "已知的前提", "已知的前提"),
        (1, "问题：问题：", "问题："),
        (2, "问题：长江多长", "问题：长江多长"),
    ],
)
def test_target_prefix_is_removed_once_and_nothing_else(
    template: int, written: str, question: str
) -> None:
    assert remove_target_prefix(written, template) == question


@given(st.text("问题：在已知答案的前提下，长江", max_size=20), st.integers(0, 4))
def test_removing_the_prefix_undoes_adding_it(question: str, template: int) -> None:
    assert remove_target_prefix(target_prefix(template) + question, template) == question


@given(st.text(max_size=20), st.integers(0, 4))
def test_text_without_the_prefix_is_unchanged(text: str, template: int) -> None:
    prefix = target_prefix(template)
    expected = text[len(prefix) :] if text[: len(prefix)] == prefix else text
    assert remove_target_prefix(text, template) == expected
