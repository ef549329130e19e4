"""Text on its way out: passages, ids, paths and errors come from anywhere, and are only shown.

A terminal, a browser and a Markdown page each do what some characters say; here they are spelt.
"""

from __future__ import annotations

import json
import re

# What a terminal does something about: controls of C0 and C1 (a tab and a line end may stay), other
# ends of a line, marks that turn the direction of text. Halves of characters cannot be written.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Markup inside a line of CommonMark 0.31, of GitHub's tables and of its links without brackets.
_MARKUP = re.compile(r"([\\`*_~!\[\]<>|&$#:@]|(?<=www)\.)", re.IGNORECASE)


def visible(text: str) -> str:
    r"""Give a text that a terminal only shows: what it would act on is spelt, ESC as `\x1b`."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def to_json(value: object) -> str:
    """Give the JSON text of a value; what a terminal would act on is in JSON's own escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shorten(text: str, longest: int) -> str:
    """Give a text on one line, of `longest` characters at most."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def in_markdown(text: str) -> str:
    """Give a text that Markdown, or a cell of its tables, only shows; on one line."""
    return _MARKUP.sub(r"\\\1", visible(" ".join(text.split())))
