"""Texts to the tokens that metrics count, in arrays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

CHARACTERS = 0x110000  # of Unicode: the ids of tokens of one character are their code points


@dataclass(frozen=True)
class TokenLists:
    """Lists of token ids, which are somewhere in one array.

    Attributes:
        ids: int32.
        starts: the place of each list's first token in `ids`, int64 [lists].
        lengths: the number of its tokens, int64 [lists].
    """

    ids: NDArray[np.int32]
    starts: Integers
    lengths: Integers

    def __getitem__(self, which: Integers) -> TokenLists:
        """Return some of the lists."""
        return TokenLists(self.ids, self.starts[which], self.lengths[which])

    def read(self, which: int) -> list[int]:
        """Return a list."""
        start = self.starts[which]
        tokens: list[int] = self.ids[start : start + self.lengths[which]].tolist()
        return tokens

    def lay(self, filler: int) -> NDArray[np.int32]:
        """Return the lists as columns, int32 [most tokens, lists]; `filler` follows the shorter."""
        rows = np.arange(self.lengths.max(initial=0))[:, None]
        is_token = rows < self.lengths
        laid = np.full(is_token.shape, filler, np.int32)
        laid[is_token] = self.ids[(self.starts + rows)[is_token]]
        return laid


class Tokenizer:
    """Turns texts into tokens as a given function does.

    Most characters of Chinese text are tokens, whatever is beside them. A text that has no others
    needs no splitting, which takes ten times as long.
    """

    def __init__(self, split: Callable[[str], Sequence[str]]) -> None:
        self._split = split
        self._is_token = np.zeros(CHARACTERS, np.bool_)
        self._is_known = np.zeros(CHARACTERS, np.bool_)

    def tokenize(self, texts: Sequence[str]) -> TokenLists:
        """Return the tokens of texts; equal tokens of these texts have equal ids."""
        lengths = np.array(list(map(len, texts)), np.int64)
        starts = np.cumsum(lengths) - lengths
        codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<i4")
        self._learn(codes)
        others = np.append(0, np.cumsum(~self._is_token[codes]))  # before each character
        mixed = np.flatnonzero(others[starts] < others[starts + lengths])
        ids: defaultdict[str, int] = defaultdict(count(CHARACTERS).__next__)
        found = [
            [ord(token) if len(token) == 1 else ids[token] for token in self._split(texts[place])]
            for place in mixed.tolist()
        ]
        lengths[mixed] = more = np.array(list(map(len, found)), np.int64)
        starts[mixed] = codes.size + np.cumsum(more) - more
        appended = np.fromiter(chain.from_iterable(found), np.int32, int(more.sum()))
        return TokenLists(np.concatenate([codes, appended]), starts, lengths)

    def _learn(self, codes: NDArray[np.int32]) -> None:
        """Find out which new characters are always tokens: between letters, and between digits."""
        for code in np.unique(codes[~self._is_known[codes]]).tolist():
            one = chr(code)
            tried = (self._split(f"{other}{one}{other}") == [other, one, other] for other in "a0")
            self._is_token[code], self._is_known[code] = all(tried), True
