"""Text to the ids of word pieces: the same as PaddleNLP's `UNIMOTokenizer`, but fast.

Most characters of a Chinese text are words of their own: their ids are looked up in an array, for
the whole text at once. What remains are words of several characters: `words.py` says what becomes
of them, the `tokenizers` library splits them into pieces, and known words are looked up.

Source: `WordpieceTokenizer` in `paddlenlp/transformers/bert/tokenizer.py`, PaddleNLP 2.8.1.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from tokenizers.models import WordPiece

from tasks.engine.tokenization.words import WordSplitter

LONGEST_WORD = 100  # characters; longer words are unknown
WORDS_KEPT = 1 << 16  # in the cache; texts have few different words, serial numbers many

# What stands in the place of an id for a character that is no word of its own.
_IN_WORD, _SPACE, _UNSEEN = -1, -2, -3

Ids = NDArray[np.int32]


class WordPieces:
    """The word pieces of a vocabulary; see `tasks.engine.tokenization.tokenizer.TextTokenizer`."""

    def __init__(
        self, vocabulary: Mapping[str, int], unknown_token: str, lower_case: bool = True
    ) -> None:
        """Make tables for `vocabulary`, ids by token; each is less than 2^31."""
        model = WordPiece(
            dict(vocabulary), unk_token=unknown_token, max_input_chars_per_word=LONGEST_WORD
        )
        self._words = WordSplitter(lower_case)
        self._ids = _Ids(model, self._words)
        self._characters = np.full(sys.maxunicode + 1, _UNSEEN, np.int32)

    def first_ids(self, text: str, most: int) -> Ids:
        """Return the ids of the first `most` word pieces of a text."""
        text = self._words.prepare(text)
        ids = self._look_up(text)
        parts, done, left = list[Ids](), 0, most
        for start, stop in _find_runs(ids == _IN_WORD):
            word = self._ids[text[start:stop]]
            parts += (ids[done:start], word)
            done, left = stop, left - len(word)
            if left <= 0:
                break
        found: Ids = np.concatenate((*parts, ids[done:]))
        found = found[found != _SPACE]
        return found[:most]

    def _look_up(self, text: str) -> Ids:
        """Return for each character its id, `_SPACE` or `_IN_WORD`."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        ids: Ids = self._characters[codes]
        if ids.min(initial=0) == _UNSEEN:
            for code in np.unique(codes[ids == _UNSEEN]).tolist():
                self._characters[code] = self._place(chr(code))
            ids = self._characters[codes]
        return ids

    def _place(self, char: str) -> int:
        """Return the id of a character that is always a word of one piece; else what it is."""
        spaced = self._words.space_out(char)
        if spaced.isspace():
            return _SPACE
        if spaced.startswith(" ") and spaced.endswith(" "):
            ids: list[int] = self._ids[char].tolist()
            return ids[0] if len(ids) == 1 else _IN_WORD
        return _IN_WORD


class _Ids(dict[str, Ids]):
    """The ids of the pieces of words that have occurred, by the prepared text of the word."""

    def __init__(self, model: WordPiece, words: WordSplitter) -> None:
        super().__init__()
        self._model = model
        self._words = words

    def __missing__(self, text: str) -> Ids:
        words = self._words.space_out(text).split()
        pieces = [piece.id for word in words for piece in self._model.tokenize(word)]
        ids = np.array(pieces, np.int32)
        if len(self) < WORDS_KEPT and len(text) <= LONGEST_WORD:
            self[text] = ids
        return ids


def _find_runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return where each run of true values starts and stops."""
    padded = np.zeros(len(mask) + 2, np.bool_)
    padded[1:-1] = mask
    edges = np.flatnonzero(padded[1:] != padded[:-1]).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
