"""Escaping untrusted text for output.

Passages, ids, paths and error messages may contain terminal control sequences or markup; each
function here makes a text safe for one kind of output.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence

# What a terminal interprets: C0 and C1 controls (tab and line feed are kept), other line ends and
# bidirectional marks; and lone surrogates, which UTF-8 cannot encode.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Inline markup of CommonMark 0.31, GitHub's tables and its bare links.
_MARKUP = re.compile(r"([\\`*_~!\[\]<>|&$#:@]|(?<=www)\.)", re.IGNORECASE)


def visible(text: str) -> str:
    r"""Return a text with what a terminal would interpret as escapes: ESC becomes `\x1b`."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def to_json(value: object) -> str:
    """Return a value as indented JSON, with what a terminal would interpret as JSON escapes.

    What JSON does not have, such as a date, is text.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class VisibleFormatter(logging.Formatter):
    """Escapes log messages: log files are read on terminals, and Prefect takes UTF-8 only."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the formatted record without what a terminal would interpret."""
        return visible(super().format(record))


def encodable(text: str) -> str:
    r"""Return a text that UTF-8 can encode, with lone surrogates as escapes such as `\udcff`."""
    return text.encode(errors="backslashreplace").decode()


def shorten(text: str, longest: int) -> str:
    """Return a text on one line, cut to at most `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def shorten_list(texts: Sequence[str], most: int = 3) -> str:
    """Return texts with commas; if there are more than `most`, these and the number of others."""
    others = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + others


def in_markdown(text: str) -> str:
    """Return a text on one line, escaped for Markdown and the cells of its tables."""
    return _MARKUP.sub(r"\\\1", visible(" ".join(text.split())))
