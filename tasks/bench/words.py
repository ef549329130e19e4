"""The vocabulary of a random model: every token is one Chinese character."""

from __future__ import annotations

FIRST = 0x4E00
"""The first of Unicode's CJK unified ideographs, which the tokenizer takes one by one."""

MOST = 0x9FFF - FIRST + 1


def make_words(count: int) -> list[str]:
    """Give `count` tokens, at most `MOST`."""
    return [chr(FIRST + number) for number in range(count)]
