"""The templates of PaddleNLP's question-generation example: the input format of a model.

A model must be used with the template that it was trained with, and its output starts with the
target prefix of that template.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from tasks.passages.records import Passage

TEMPLATE_4_DOMAINS = 3
_TASK = "这是一个问题生成任务，根据提供的答案和上下文，来生成问题。"
_TARGET_PREFIXES = {0: "", 1: "问题：", 2: "在已知答案的前提下，问题：", 3: "问题：", 4: "问题："}


class Role(Enum):
    """What a piece of a template is."""

    MARKER = auto()  # a special token: `text` is its name, such as `cls_token`
    PROMPT = auto()  # any other text
    ANSWER = auto()
    CONTEXT = auto()


class Piece(NamedTuple):
    """A piece of the source: a text, or a special token."""

    role: Role
    text: str
    segment: int = 0  # the type of its tokens


class TemplateText(NamedTuple):
    """What to encode: the pieces of the source in order, and in template 0 the title.

    Texts that follow each other without a special token between them are tokenized as one.
    """

    pieces: tuple[Piece, ...]
    title: str | None = None


def fill_template(passage: Passage, template: int, sep_token: str) -> TemplateText:
    """Combine passage and answer as the example does for prediction.

    In templates 1 to 3 `sep_token` is a text: the tokenizer splits it into pieces like any other,
    both in training and in prediction, so those models expect the pieces.

    Raises:
        ValueError: there is no such template.
    """
    answer, context = Piece(Role.ANSWER, passage.answer), Piece(Role.CONTEXT, passage.context)
    separated = (answer, Piece(Role.PROMPT, f"{sep_token}上下文："), context)
    match template:
        case 0:
            return TemplateText((context,), title=passage.answer)
        case 1 | 2:
            return TemplateText((Piece(Role.PROMPT, "答案："), *separated))
        case 3:
            return TemplateText((Piece(Role.PROMPT, _TASK), *separated))
        case 4:
            return TemplateText(tuple(_fill_template_4(passage)))
    raise ValueError(f"there is no template {template}")


def _fill_template_4(passage: Passage) -> Iterator[Piece]:
    """Yield prompt and domains, each between special tokens, then answer and context.

    Tokens of the prompt have type 2, of the domains 3, of answer and context 0.
    """
    yield Piece(Role.PROMPT, passage.prompt_common or "", 2)
    yield Piece(Role.MARKER, "sep_token", 2)
    for domain in passage.prompt_domain:
        yield Piece(Role.MARKER, "cls_token", 3)
        yield Piece(Role.PROMPT, domain, 3)
        yield Piece(Role.MARKER, "sep_token", 3)
    yield Piece(Role.MARKER, "cls_token")
    yield Piece(Role.PROMPT, "答案：")
    yield Piece(Role.ANSWER, passage.answer)
    yield Piece(Role.MARKER, "sep_token")
    yield Piece(Role.MARKER, "cls_token")
    yield Piece(Role.PROMPT, "上下文：")
    yield Piece(Role.CONTEXT, passage.context)


def target_prefix(template: int) -> str:
    """Return the prefix of every question of a model that was trained with this template."""
    return _TARGET_PREFIXES[template]


def remove_target_prefix(text: str, template: int) -> str:
    """Remove the template's target prefix once, from the start only."""
    return text.removeprefix(_TARGET_PREFIXES[template])
