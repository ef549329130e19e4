"""A page in two languages, of which page.css and page.js show one."""

from __future__ import annotations

import re

TAGS = re.compile(r"(<[^>]*>)")
ATTRIBUTE = re.compile(r' ([\w-]+)="([^"]*)"')
WITHOUT_ELEMENTS = ("<title", "<text")  # these can only have texts in them


def join(english: str, chinese: str) -> str:
    """Return a page with both texts wherever two pages differ.

    The pages may differ in texts and in values of attributes only. A text is in an element of the
    class `en` or `zh`. Other Chinese texts are in attributes of an element that has `data-zh`:
    `data-zh-text` is its text, and `data-zh-NAME` the value of another attribute.

    Raises:
        ValueError: the pages have different elements.
    """
    parts: list[str] = []
    for one, other in zip(TAGS.split(english), TAGS.split(chinese), strict=True):
        if one == other:
            parts.append(one)
        elif one.startswith("<"):
            parts.append(_join_tags(one, other))
        elif parts[-1].startswith(WITHOUT_ELEMENTS):
            parts[-1] = _with_data(parts[-1], [("text", other)])
            parts.append(one)
        else:
            parts.append(f'<span class="en">{one}</span><span class="zh">{other}</span>')
    return "".join(parts)


def _join_tags(english: str, chinese: str) -> str:
    ours, others = ATTRIBUTE.findall(english), ATTRIBUTE.findall(chinese)
    if ATTRIBUTE.sub("", english) != ATTRIBUTE.sub("", chinese):
        raise ValueError(f"different elements: {english} and {chinese}")
    pairs = zip(ours, others, strict=True)
    return _with_data(english, [other for one, other in pairs if one != other])


def _with_data(tag: str, values: list[tuple[str, str]]) -> str:
    mark = "" if " data-zh" in tag else ' data-zh=""'
    return "".join([tag[:-1], mark, *(f' data-zh-{name}="{value}"' for name, value in values), ">"])
