"""The tokenizer of a UNIMO checkpoint: passages to tokens, tokens to questions.

The tokens are those of PaddleNLP's own `UNIMOTokenizer.gen_encode`, with which the model was
trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from tasks.engine.tokenization.tokenizer import join_pieces, load_text_tokenizer
from tasks.load.templates import TEMPLATE_4_DOMAINS, fill_template, remove_target_prefix
from tasks.passages.records import Passage, Reason, Reject, excerpt

_TEMPLATE_4_STARTS = TEMPLATE_4_DOMAINS + 4


class Encoded(NamedTuple):
    """The tokens of a passage, ending with the start token; both lists have the same length."""

    input_ids: list[int]
    token_type_ids: list[int]


class QuestionTokenizer:
    """Encodes passages and decodes questions for one model folder and one template.

    Args:
        model_folder: a model checkpoint of PaddleNLP.
        template: number of the template, 0 to 4.
        max_seq_len: maximum tokens of a row, start token included.
        max_title_len: maximum tokens of the title in template 0.

    Raises:
        ModelError: `vocab.txt` is missing, or is not a vocabulary of UNIMO.
        ValueError: `max_title_len` leaves no room for the passage.
    """

    def __init__(
        self,
        model_folder: str | Path,
        template: int = 1,
        max_seq_len: int = 512,
        max_title_len: int = 30,
    ) -> None:
        if max_title_len > max_seq_len - 4:
            raise ValueError(f"max_title_len {max_title_len} leaves no room in {max_seq_len}")
        # By default, gen_encode splits "[CLS]" into pieces; then no row has the 7 [CLS] that
        # template 4 requires, and the example fails with an assertion on every row.
        self._tokenizer = load_text_tokenizer(model_folder, keep_markers=template == 4)
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
        tokenizer, separator = self._tokenizer, self._tokenizer.special_ids["sep_token"]
        markers = tokenizer.special["cls_token"], tokenizer.special["sep_token"]
        text = fill_template(passage, self._template, *markers)
        ids = [self.start_id]
        if text.title is not None:
            ids += [*tokenizer.first_ids(text.title, self._max_title_len - 1), separator]
        room = self._max_seq_len - len(ids) - 2  # for the separator and the start token
        ids += [*tokenizer.first_ids(text.source, room), separator, self.start_id]
        if self._template != 4:
            return Encoded(ids, [0] * (len(ids) - 1) + [1])
        return self._with_segments(passage, ids)

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

    def _with_segments(self, passage: Passage, input_ids: list[int]) -> Encoded | Reject:
        """Add token types of template 4: prompt 2, domains 3, answer and context 0, target 1."""
        starts = [at for at, one in enumerate(input_ids) if one == self.start_id]
        if len(starts) != _TEMPLATE_4_STARTS:
            return Reject(
                passage.row,
                passage.line,
                passage.id,
                Reason.TEMPLATE_DOES_NOT_FIT,
                f"template 4 has {_TEMPLATE_4_STARTS} [CLS] and this row {len(starts)}:"
                f" `prompt_domain` needs {TEMPLATE_4_DOMAINS} entries, no text may hold [CLS], and"
                f" all must fit into max_seq_len {self._max_seq_len}:"
                f" {excerpt(passage.prompt_domain)}",
            )
        ends = (*(starts[at] for at in (1, 4, 6)), len(input_ids))
        segments: list[int] = []
        for end, segment in zip(ends, (2, 3, 0, 1), strict=True):
            segments += [segment] * (end - len(segments))
        return Encoded(input_ids, segments)
