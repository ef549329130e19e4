"""The vocabulary of a random model: each token is one Chinese character."""

from __future__ import annotations

FIRST = 0x4E00
"""The first CJK unified ideograph of Unicode; the tokenizer splits text at each of them."""

MOST = 0x9FFF - FIRST + 1
"""The number of CJK unified ideographs in the basic block."""


def make_words(count: int) -> list[str]:
    """Return `count` different tokens, at most `MOST`."""
    return [chr(FIRST + number) for number in range(count)]
