"""The normal form of a text, in which width, case, spaces and punctuation make no difference.

`normalize` is the definition. `normalize_all` gives the same for many texts at once, by a table
of characters: passages are long, and the full width of Chinese punctuation makes Unicode's own
normalization slow.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint32]
"""Characters of texts in normal form: code point | class; `END` stands after each text."""

WIDE, WORD, DIGIT = (np.uint32(1 << bit) for bit in (24, 25, 26))
"""Classes of characters: WORD are letters and digits of scripts that have words with spaces
between them; DIGIT are those of WORD that are digits; WIDE are all others."""

END = WIDE  # with code point 0, which no normal form has
SPACE = np.uint32(ord(" ")) | WORD
CODE = np.uint32((1 << 24) - 1)
FIRST_KEPT = WIDE  # what is below has no class: it is left out
_ALONE = np.uint32(1 << 27)  # set if the normal form depends on neighbors, or has several letters
_NOT_LOOKED_UP = np.uint32((1 << 32) - 1)
_COMMA = np.uint32(ord(","))
_JAMO = range(0x1100, 0x1200)


def normalize(text: str) -> str:
    """Return the normal form of a text.

    It is Unicode's NFKC in lower case, without spaces, punctuation and control characters. What is
    left out between two characters of class WORD leaves one space, but a comma between two digits
    leaves nothing: `Ｇ7：1,000 Km…` becomes `g7 1000 km`.
    """
    folded = _fold(text)
    while (shorter := _drop(folded)) != folded:  # what is left may compose to another class
        folded = shorter
    return folded


def _drop(folded: str) -> str:
    """Return a folded text without what a normal form leaves out."""
    classes = [_classify(char) for char in folded]
    kept = [at for at, found in enumerate(classes) if found]
    pieces = [folded[at] for at in kept[:1]]
    for last, at in pairwise(kept):
        both, between = classes[last] & classes[at], folded[last + 1 : at]
        if between and both & WORD and not (between == "," and both & DIGIT):
            pieces.append(" ")
        pieces.append(folded[at])
    return unicodedata.normalize("NFKC", "".join(pieces))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


@cache
def _classify(char: str) -> int:
    """Return the class of a character of a folded text, 0 if it is left out."""
    category = unicodedata.category(char)
    if category[0] in "PZC":
        return 0
    if category[0] == "S" or unicodedata.east_asian_width(char) in "WF":
        return int(WIDE)
    return int(WORD | DIGIT if category == "Nd" else WORD)


class Normalizer:
    """Brings texts into normal form; it keeps a table of the characters that it has seen."""

    def __init__(self) -> None:
        self._table = np.full(0x110000, _NOT_LOOKED_UP, np.uint32)

    def normalize_all(self, texts: Sequence[str]) -> Codes:
        """Return the normal forms of texts, with the class of each character."""
        if any("\0" in text for text in texts):  # which stands between texts here
            texts = [text.replace("\0", " ") for text in texts]
        found = self._look_up(texts)
        if found.max(initial=0) >= _ALONE:
            ends = np.flatnonzero(found == END)
            places = np.flatnonzero(found & _ALONE)
            texts = list(texts)
            for row in np.unique(np.searchsorted(ends, places)).tolist():
                texts[row] = normalize(texts[row])
            found = self._look_up(texts) & ~_ALONE
        return _leave_out(found)

    def _look_up(self, texts: Sequence[str]) -> Codes:
        """Return code point and class of each character, and `END` after each text."""
        joined = "\0".join((*texts, ""))
        points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
        found = self._table[points]
        if found.max(initial=0) == _NOT_LOOKED_UP:
            new = np.unique(points[found == _NOT_LOOKED_UP])
            self._table[new] = [_describe(chr(point)) for point in new.tolist()]
            found = self._table[points]
        return found


def _describe(char: str) -> int:
    """Return code point and class of the normal form of a character, and whether it is `_ALONE`."""
    if char == "\0":
        return int(END)
    folded = _fold(char)
    kept = "".join(one for one in folded if _classify(one))
    if not kept:
        return ord(folded) if len(folded) == 1 else 0
    depends = unicodedata.category(kept[0])[0] == "M" or ord(kept[0]) in _JAMO
    if len(folded) > 1 or depends:
        return ord(char) | _classify(char) | int(_ALONE)
    return ord(folded) | _classify(folded)


def _leave_out(found: Codes) -> Codes:
    """Return what is kept of texts, with spaces where `normalize` leaves them."""
    dropped = np.flatnonzero(found < FIRST_KEPT)
    if not dropped.size:
        return found
    is_first = np.diff(dropped, prepend=-2) != 1
    first = dropped[is_first]
    last = dropped[np.roll(is_first, -1)]
    both = found[np.maximum(first, 1) - 1] & found[last + 1]  # an END stands after each text
    is_number = (first == last) & (found[first] == _COMMA) & (both & DIGIT != 0)
    is_space = (both & WORD != 0) & ~is_number
    found[first[is_space]] = SPACE
    return found[found >= FIRST_KEPT]


def as_strings(texts: Codes) -> list[str]:
    """Return the normal forms as strings."""
    points = (texts & CODE).astype("<u4")
    return points.tobytes().decode("utf-32-le").split("\0")[:-1]
