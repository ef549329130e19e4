"""Text to the ids of word pieces: the same as PaddleNLP's `UNIMOTokenizer`, but fast.

`words.py` splits a text into words, the `tokenizers` library splits words into pieces, and known
words are looked up.

Source: `WordpieceTokenizer` in `paddlenlp/transformers/bert/tokenizer.py`, PaddleNLP 2.8.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, islice

from tokenizers.models import WordPiece

from tasks.engine.tokenization.words import WordSplitter

LONGEST_WORD = 100  # characters; longer words are unknown
WORDS_KEPT = 1 << 16  # in the cache; texts have few different words, serial numbers many


class WordPieces:
    """The word pieces of a vocabulary; see `tasks.engine.tokenization.tokenizer.TextTokenizer`."""

    def __init__(
        self, vocabulary: Mapping[str, int], unknown_token: str, lower_case: bool = True
    ) -> None:
        """Make tables for `vocabulary`, ids by token."""
        model = WordPiece(
            dict(vocabulary), unk_token=unknown_token, max_input_chars_per_word=LONGEST_WORD
        )
        self._ids = _Ids(model)
        self._words = WordSplitter(lower_case)

    def first_ids(self, text: str, most: int) -> list[int]:
        """Return the ids of the first `most` word pieces of a text."""
        words = self._words.split(text, most)  # a word has at least one piece
        ids = map(self._ids.__getitem__, words)
        return list(islice(chain.from_iterable(ids), most))


class _Ids(dict[str, tuple[int, ...]]):
    """The ids of the pieces of words that have occurred."""

    def __init__(self, model: WordPiece) -> None:
        super().__init__()
        self._model = model

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = tuple(piece.id for piece in self._model.tokenize(word))
        if len(self) < WORDS_KEPT and len(word) <= LONGEST_WORD:
            self[word] = ids
        return ids
