"""Text to words: the same as PaddleNLP's `BasicTokenizer`, but fast.

PaddleNLP processes a text character by character in Python, several times: it cleans it and
surrounds CJK characters with spaces, then lowercases each word, decomposes it (NFD), drops what it
calls accents (category Mn) and surrounds punctuation and symbols with spaces. Here, a table maps
each character to the result of all these steps. Categories and cases come from Python's own
`unicodedata`, as in PaddleNLP, so that both use the same version of Unicode.

Source: `BasicTokenizer` in `paddlenlp/transformers/bert/tokenizer.py` and the character tests in
`paddlenlp/transformers/tokenizer_utils.py`, PaddleNLP 2.8.1.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable

CONTEXTUAL = re.compile("[\u03a3\u1700-\u1bff\u302e\u302f\ua953-\ua9c0\U00011000-\U0001dfff]")
"""Characters whose mapping depends on their neighbors, and some others, because fewer ranges are
faster: capital sigma is lowercased to a different letter at the end of a word, and NFD reorders
marks, most of which are dropped as accents, but not these."""

_CJK = re.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf"
    "\U0002f800-\U0002fa1f]"
)
_ALSO_SYMBOLS = "\u00ad\u00b2\u00ba\u3007\u00b5\u00d8\u014b\u01b1"


class WordSplitter:
    """Splits texts into words; tables are filled as characters occur."""

    def __init__(self, lower_case: bool = True) -> None:
        self._lower_case = lower_case
        self._clean = Table(_clean)
        self._spaced = Table(self._space_out_one)

    def split(self, text: str) -> list[str]:
        """Return the words of a text."""
        return self.space_out(self.prepare(text)).split()

    def prepare(self, text: str) -> str:
        """Return a text in which what a character becomes does not depend on its neighbors."""
        if self._lower_case and CONTEXTUAL.search(text):
            # the table leaves text unchanged that has been lowercased and decomposed as a whole
            return unicodedata.normalize("NFD", text.translate(self._clean).lower())
        return text

    def space_out(self, text: str) -> str:
        """Return a prepared text, or a part of it, with spaces between its words."""
        return text.translate(self._spaced)

    def _space_out_one(self, char: str) -> str:
        """Return what a character is mapped to, independent of its neighbors."""
        text = _clean(char)
        if self._lower_case:
            text = unicodedata.normalize("NFD", text.lower())
            text = "".join(one for one in text if unicodedata.category(one) != "Mn")
        return "".join(f" {one} " if _is_symbol(one) else one for one in text)


class Table(dict[int, str]):
    """A table for `str.translate` that is filled as characters occur."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        super().__init__()
        self._replace = replace

    def __missing__(self, code: int) -> str:
        text = self[code] = self._replace(chr(code))
        return text


def _clean(char: str) -> str:
    """Drop control characters, normalize white space, and put spaces around CJK characters."""
    kind = unicodedata.category(char)[0]
    if char in "\t\n\r" or kind == "Z":
        return " "
    if char == "\N{REPLACEMENT CHARACTER}" or kind == "C":
        return ""
    return f" {char} " if _CJK.match(char) else char


def _is_symbol(char: str) -> bool:
    """Return whether a character is always a word of its own."""
    return (
        char in string.punctuation or unicodedata.category(char)[0] in "PS" or char in _ALSO_SYMBOLS
    )
