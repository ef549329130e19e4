"""The tokenizer of a UNIMO checkpoint: passages to tokens, tokens to questions.

The tokens are those of PaddleNLP's own `UNIMOTokenizer.gen_encode`, with which the model was
trained. Text never becomes a special token, whatever it contains; what the model does not see of a
row is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import groupby, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.engine.model_files import ModelFiles
from tasks.engine.tokenization.tokenizer import join_pieces, load_text_tokenizer
from tasks.engine.tokenization.wordpiece import Ids
from tasks.load.templates import (
    TEMPLATE_4_DOMAINS,
    Piece,
    Role,
    fill_template,
    remove_target_prefix,
)
from tasks.passages.records import Passage, Reason, Reject, excerpt


class Cut(StrEnum):
    """What `max_seq_len`, or `max_title_len` in template 0, cut off a row; the worst of these."""

    ANSWER = "answer"  # the end of the answer
    WHOLE_PASSAGE = "whole_passage"
    ANSWER_IN_PASSAGE = "answer_in_passage"  # the first place of the passage with the answer
    PASSAGE_END = "passage_end"


class Encoded(NamedTuple):
    """The tokens of a passage, ending with the start token, and what the model does not see.

    Attributes:
        input_ids: int32 [tokens].
        token_type_ids: int32 [tokens].
        cut: what was cut off; None for nothing.
        unknown_tokens: how many of the tokens are [UNK]: a Chinese character, or a word, that the
            vocabulary does not have.
    """

    input_ids: Ids
    token_type_ids: Ids
    cut: Cut | None = None
    unknown_tokens: int = 0


Outcome = tuple[Passage, Encoded] | Reject


class QuestionTokenizer:
    """Encodes passages and decodes questions for one model folder and one template.

    Args:
        model: a model checkpoint of PaddleNLP, a folder or its files as they were hashed.
        template: number of the template, 0 to 4.
        max_seq_len: maximum tokens of a row, start token included.
        max_title_len: maximum tokens of the title in template 0.

    Raises:
        ModelError: `vocab.txt` is missing, has changed, or is not a vocabulary of UNIMO.
        ValueError: `max_title_len` leaves no room for the passage.
    """

    def __init__(
        self,
        model: str | Path | ModelFiles,
        template: int = 1,
        max_seq_len: int = 512,
        max_title_len: int = 30,
    ) -> None:
        if max_title_len > max_seq_len - 4:
            raise ValueError(f"max_title_len {max_title_len} leaves no room in {max_seq_len}")
        self._tokenizer = load_text_tokenizer(model)
        self._template = template
        self._max_seq_len = max_seq_len
        self._max_title_len = max_title_len

    @property
    def start_id(self) -> int:
        """Id of the token that decoding starts with, [CLS]."""
        return self._tokenizer.special_ids["cls_token"]

    @property
    def end_id(self) -> int:
        """Id of the token that ends a question, [MASK]."""
        return self._tokenizer.special_ids["mask_token"]

    @property
    def pad_id(self) -> int:
        """Id of the token that pads rows."""
        return self._tokenizer.special_ids["pad_token"]

    def encode(self, passage: Passage) -> Encoded | Reject:
        """Return the tokens of a passage, truncated to `max_seq_len` as `gen_encode` does.

        Returns a `Reject` if the text does not have the parts of template 4.
        """
        text = fill_template(passage, self._template, self._tokenizer.special["sep_token"])
        title, is_title_cut = self._encode_title(text.title)
        head = _join([self.start_id], title)
        room = self._max_seq_len - len(head) - 2  # for the separator and the start token
        if fault := self._find_misfit(passage, text.pieces, room):
            reason = Reason.TEMPLATE_DOES_NOT_FIT
            return Reject(passage.row, passage.line, passage.id, reason, fault)
        source, types = self._encode_pieces(text.pieces, room + 1)
        cut = self._find_cut(passage, text.pieces, room) if len(source) > room else None
        special_ids = self._tokenizer.special_ids
        ids = _join(head, source[:room], [special_ids["sep_token"], self.start_id])
        first, last = text.pieces[0].segment, text.pieces[-1].segment
        return Encoded(
            input_ids=ids,
            token_type_ids=_join([first] * len(head), types[:room], [last, 1]),
            cut=Cut.ANSWER if is_title_cut else cut,
            unknown_tokens=int(np.count_nonzero(ids == special_ids["unk_token"])),
        )

    def decode(self, output_ids: Sequence[int]) -> str:
        """Return the question in a model's output: up to the first [MASK], without target prefix.

        Unknown tokens are left out, and so are ids outside the vocabulary: a model's embedding can
        have more rows than the vocabulary has tokens.
        """
        unknown, end_id = self._tokenizer.special["unk_token"], self.end_id
        written = takewhile(lambda one: one != end_id, output_ids)
        tokens = (self._tokenizer.tokens.get(one) for one in written)
        words = join_pieces(token for token in tokens if token is not None)
        text = "".join(word for word in words if word != unknown)
        return remove_target_prefix(text, self._template)

    def _encode_title(self, title: str | None) -> tuple[Ids, bool]:
        """Return the tokens of a title with a separator, and whether its end was cut off."""
        if title is None:
            return _join(), False
        ids = self._tokenizer.first_ids(title, self._max_title_len)
        kept = ids[: self._max_title_len - 1]
        return _join(kept, [self._tokenizer.special_ids["sep_token"]]), len(kept) < len(ids)

    def _encode_pieces(self, pieces: Sequence[Piece], most: int) -> tuple[Ids, Ids]:
        """Return the first `most` tokens of a source, and their types."""
        ids, types, left = list[Ids](), list[Ids](), most
        for is_marker, run in groupby(pieces, lambda piece: piece.role is Role.MARKER):
            parts = list(run)
            if is_marker:
                ids.append(_join([self._tokenizer.special_ids[part.text] for part in parts]))
                types.append(_join([part.segment for part in parts]))
            else:
                text = "".join(part.text for part in parts)
                ids.append(self._tokenizer.first_ids(text, max(0, left)))
                types.append(np.full(len(ids[-1]), parts[0].segment, np.int32))
            left -= len(ids[-1])
        return _join(*ids)[:most], _join(*types)[:most]

    def _find_misfit(self, passage: Passage, pieces: Sequence[Piece], room: int) -> str | None:
        """Return why a row does not have the parts of template 4; None if it has them."""
        if self._template != 4:
            return None
        domains = passage.prompt_domain
        if len(domains) != TEMPLATE_4_DOMAINS:
            needed = f"`prompt_domain` needs {TEMPLATE_4_DOMAINS} entries"
            return f"template 4: {needed}, this row has {len(domains)}: {excerpt(domains)}"
        last = max(at for at, piece in enumerate(pieces) if piece.role is Role.MARKER)
        if self._fits(pieces[: last + 1], room):
            return None
        texts = "`prompt_common`, `prompt_domain` and the answer"
        return f"template 4: {texts} do not fit into max_seq_len {self._max_seq_len}"

    def _find_cut(self, passage: Passage, pieces: Sequence[Piece], room: int) -> Cut:
        """Return what is cut off a source that has more than `room` tokens."""
        roles = [piece.role for piece in pieces]
        before = pieces[: roles.index(Role.CONTEXT)]
        start = passage.context.find(passage.answer)
        up_to_answer = passage.context[: start + len(passage.answer)]
        # The usual case first: whatever is in front of the answer in the passage then fits too.
        if start >= 0 and self._fits([*before, Piece(Role.CONTEXT, up_to_answer)], room):
            return Cut.PASSAGE_END
        if Role.ANSWER in roles and not self._fits(pieces[: roles.index(Role.ANSWER) + 1], room):
            return Cut.ANSWER
        if not self._fits(before, room - 1):
            return Cut.WHOLE_PASSAGE
        return Cut.PASSAGE_END if start < 0 else Cut.ANSWER_IN_PASSAGE

    def _fits(self, pieces: Sequence[Piece], room: int) -> bool:
        """Return whether a source has at most `room` tokens."""
        return len(self._encode_pieces(pieces, room + 1)[0]) <= room


def encode_rows(
    rows: Iterable[Passage | Reject], encode: Callable[[Passage], Encoded | Reject]
) -> Iterator[Outcome]:
    """Tokenize lazily, one row at a time; rejects are passed on."""
    for row in rows:
        outcome = row if isinstance(row, Reject) else encode(row)
        if isinstance(outcome, Reject):
            yield outcome
        elif isinstance(row, Passage):
            yield row, outcome


def _join(*parts: Ids | list[int]) -> Ids:
    """Return tokens, or types of tokens, as one array."""
    return np.concatenate((_NOTHING, *parts), dtype=np.int32, casting="unsafe")


_NOTHING = np.empty(0, np.int32)
