"""The templates of PaddleNLP's question-generation example: the input format of a model.

A model must be used with the template that it was trained with, and its output starts with the
target prefix of that template.
"""

from __future__ import annotations

from typing import NamedTuple

from tasks.passages.records import Passage

# of the 7 [CLS] of template 4: the first, one a domain, answer, context, and the start token
TEMPLATE_4_DOMAINS = 3
_TASK = "这是一个问题生成任务，根据提供的答案和上下文，来生成问题。"
_TARGET_PREFIXES = {0: "", 1: "问题：", 2: "在已知答案的前提下，问题：", 3: "问题：", 4: "问题："}


class TemplateText(NamedTuple):
    """The text to encode: the source, and in template 0 the title."""

    source: str
    title: str | None


def fill_template(passage: Passage, template: int, cls_token: str, sep_token: str) -> TemplateText:
    """Combine passage and answer as the example does for prediction.

    In templates 1 to 3 the tokenizer splits `sep_token` into pieces like any other text, both in
    training and in prediction, so those models expect the pieces.

    Raises:
        ValueError: there is no such template.
    """
    context = f"上下文：{passage.context}"
    match template:
        case 0:
            return TemplateText(passage.context, passage.answer)
        case 1 | 2:
            return TemplateText(f"答案：{passage.answer}{sep_token}{context}", None)
        case 3:
            return TemplateText(f"{_TASK}{passage.answer}{sep_token}{context}", None)
        case 4:
            domains = (f" {cls_token} {one} {sep_token} " for one in passage.prompt_domain)
            return TemplateText(
                f"{passage.prompt_common} {sep_token} {''.join(domains)}"
                f" {cls_token} 答案：{passage.answer} {sep_token} {cls_token}{context}",
                None,
            )
    raise ValueError(f"there is no template {template}")


def target_prefix(template: int) -> str:
    """Return the prefix of every question of a model that was trained with this template."""
    return _TARGET_PREFIXES[template]


def remove_target_prefix(text: str, template: int) -> str:
    """Remove the template's target prefix once, from the start only."""
    return text.removeprefix(_TARGET_PREFIXES[template])
