"""Which columns of the user's data are passage, answer, reference question and id, by their names.

`KNOWN` has the names in data sets and exports, in English and Chinese. A name that is none of them
counts if it contains one, such as `gold_answer` or `文章段落`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

KNOWN: Mapping[str, tuple[str, ...]] = {
    "context": (
        *("context", "passage", "paragraph", "document", "doc", "article", "text", "content"),
        *("body", "段落", "上下文", "篇章", "文章", "正文", "原文", "文本"),
        *("内容", "材料", "文档", "语料"),
        *("source", "src"),  # last, because it often says where a passage is from
    ),
    "answer": (
        *("answer", "ans", "answer_text", "gold_answer", "keyword", "entity", "span"),
        *("答案", "标准答案", "参考答案", "答案文本", "回答", "关键词"),
    ),
    "reference": (
        *("question", "query", "reference", "ref", "target", "tgt"),
        *("问题", "参考问题", "问句", "提问", "题目", "标准问"),
    ),
    "id": (
        *("id", "doc_id", "docid", "qid", "question_id", "passage_id", "example_id", "uid", "uuid"),
        *("guid", "pid", "key", "编号", "序号", "标识", "主键"),
    ),
}

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^\W\d_a-zA-Z]+")


_CHINESE = re.compile(
    "|".join(sorted((one for names in KNOWN.values() for one in names), key=len, reverse=True))
)


def propose_fields(names: Sequence[str]) -> dict[str, str]:
    """Return the column for each role (`context`, `answer`, `reference`, `id`) that has one.

    Whole names come before those that contain a known one, and in the order of `KNOWN`.
    """
    found: dict[str, str] = {}
    for find in (_find_whole, _find_part):
        for role in KNOWN:
            free = [name for name in names if name not in found.values()]
            if role not in found and (name := find(role, free)) is not None:
                found[role] = name
    return {role: found[role] for role in KNOWN if role in found}


def _find_whole(role: str, names: Sequence[str]) -> str | None:
    folded = {_fold(name): name for name in reversed(names)}
    return next((folded[one] for one in KNOWN[role] if one in folded), None)


def _find_part(role: str, names: Sequence[str]) -> str | None:
    """Return a name that contains one of a role, but is no id, as `answer_id` is."""
    ids = {name for name in names if any(_words(name)[-1:] == [one] for one in KNOWN["id"])}
    usable = [name for name in names if role == "id" or name not in ids]
    return next((name for one in KNOWN[role] for name in usable if one in _words(name)), None)


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case; of Chinese, the known names in it, in order."""
    words = [word.casefold() for word in _WORD.findall(name)]
    return [
        part for word in words for part in ([word] if word.isascii() else _CHINESE.findall(word))
    ]


def _fold(name: str) -> str:
    """Return a name without case, width, spaces around it and invisible characters, with `_`."""
    shown = (char for char in name if unicodedata.category(char) not in {"Cc", "Cf"})
    return re.sub(r"[\s.-]+", "_", unicodedata.normalize("NFKC", "".join(shown)).strip()).casefold()
