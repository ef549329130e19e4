"""Text to the tokens of sacreBLEU's tokenizer `zh`, five times as fast.

sacreBLEU puts spaces around each Chinese character in a Python loop, and around most punctuation by
a regular expression that also matches each of these spaces. Here, a table maps each character to
the result of both. Only the rules for period, comma and dash look at neighbors; they are
sacreBLEU's own.

Source: `sacrebleu/tokenizers/tokenizer_zh.py` and `tokenizer_re.py`, sacreBLEU 2.
"""

from __future__ import annotations

import re

from tasks.engine.tokenization.words import Table
from tasks.environment import without

UNUSED = ("redis", "wcwidth")
"""What sacreBLEU's own imports do without; they take as long as all else in it."""

_NEIGHBORS = re.compile("[.,-]")


class CharacterSplitter:
    """Splits texts into the tokens of sacreBLEU's tokenizer `zh`."""

    def __init__(self) -> None:
        with without(*UNUSED):
            from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp
            from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

        self._is_chinese = TokenizerZh._is_chinese_char
        (self._punctuation, _spaced), *self._rules = TokenizerRegexp()._re
        self._spaced = Table(self._space_out)

    def split(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        spaced = text.strip().translate(self._spaced)
        if _NEIGHBORS.search(spaced):
            for rule, replacement in self._rules:
                spaced = rule.sub(replacement, spaced)
        return spaced.split()

    def _space_out(self, char: str) -> str:
        is_token = self._is_chinese(char) or (char != " " and self._punctuation.match(char))
        return f" {char} " if is_token else char
