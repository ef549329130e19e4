"""The tokenizer of a UNIMO checkpoint: passages to tokens, tokens to questions.

All encoding is done by PaddleNLP's own `UNIMOTokenizer.gen_encode`, so the tokens are those that
the model was trained on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tasks.engine.runtime import import_paddlenlp
from tasks.errors import InputError, ModelError
from tasks.passages import Passage, Reason, Reject, excerpt
from tasks.templates import TEMPLATE_4_DOMAINS, fill_template, remove_target_prefix

_TEMPLATE_4_STARTS = TEMPLATE_4_DOMAINS + 4
_SPECIAL_TOKENS = ("pad_token", "cls_token", "sep_token", "mask_token", "unk_token")


class Encoded(NamedTuple):
    """The tokens of a passage, the start token for decoding last; both lists have one length."""

    input_ids: list[int]
    token_type_ids: list[int]


class QuestionTokenizer:
    """Encodes passages and decodes questions for one checkpoint and one template."""

    def __init__(
        self,
        model_folder: str | Path,
        template: int = 1,
        max_seq_len: int = 512,
        max_title_len: int = 30,
    ) -> None:
        if max_title_len > max_seq_len - 4:
            raise ValueError(f"max_title_len {max_title_len} leaves no room in {max_seq_len}")
        self._tokenizer = load_tokenizer(model_folder)
        self._template = template
        self._max_seq_len = max_seq_len
        self._max_title_len = max_title_len
        if template == 4:
            # As it comes, gen_encode cuts "[CLS]" into pieces, so that no text has the 7 [CLS]
            # that template 4 is defined by and the example ends with an assertion on every row.
            markers = {self._tokenizer.cls_token, self._tokenizer.sep_token}
            self._tokenizer.basic_tokenizer.never_split = markers

    @property
    def start_id(self) -> int:
        """Id of the token that decoding starts with, [CLS]."""
        return int(self._tokenizer.cls_token_id)

    @property
    def end_id(self) -> int:
        """Id of the token that ends a question, [MASK]."""
        return int(self._tokenizer.mask_token_id)

    @property
    def pad_id(self) -> int:
        """Id of the token that fills rows up."""
        return int(self._tokenizer.pad_token_id)

    def encode(self, passage: Passage) -> Encoded | Reject:
        """Give the tokens of a passage, cut to `max_seq_len` as PaddleNLP cuts them.

        A `Reject` comes back when the text does not have the parts that template 4 consists of.
        """
        text = fill_template(
            passage, self._template, self._tokenizer.cls_token, self._tokenizer.sep_token
        )
        encoded = self._tokenizer.gen_encode(
            text.source,
            title=text.title,
            max_seq_len=self._max_seq_len,
            max_title_len=self._max_title_len,
            max_target_len=0,  # there is no target; another number only makes it refuse
            add_start_token_for_decoding=True,
            return_position_ids=False,
            return_attention_mask=False,  # length x length floats that nobody reads
        )
        input_ids = encoded["input_ids"]
        if self._template != 4:
            return Encoded(input_ids, encoded["token_type_ids"])
        return self._with_segments(passage, input_ids)

    def decode(self, output_ids: Sequence[int]) -> str:
        """Give the question that a model wrote: up to the first [MASK], without target prefix.

        Unknown tokens are left out, and so are ids that the vocabulary does not have: a model can
        have more rows than its vocabulary.
        """
        known = self._tokenizer.vocab.idx_to_token
        ids = [int(one) for one in output_ids]
        if self.end_id in ids:
            ids = ids[: ids.index(self.end_id)]
        tokens = self._tokenizer.convert_ids_to_tokens([one for one in ids if one in known])
        words = self._tokenizer.merge_subword(tokens)
        text = "".join(word for word in words if word != self._tokenizer.unk_token)
        return remove_target_prefix(text, self._template)

    def _with_segments(self, passage: Passage, input_ids: list[int]) -> Encoded | Reject:
        """Number the parts of template 4: prompt 2, domains 3, answer and context 0, target 1."""
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


def load_tokenizer(model_folder: str | Path) -> Any:  # noqa: ANN401 PaddleNLP has no types
    """Give PaddleNLP's `UNIMOTokenizer` of a checkpoint folder.

    Raises:
        ModelError: `vocab.txt` is not there or is not a vocabulary of UNIMO.
    """
    folder = Path(model_folder).absolute()  # a relative name can be one that PaddleNLP downloads
    _check_vocabulary(folder / "vocab.txt")
    transformers = import_paddlenlp().transformers
    try:
        tokenizer = transformers.UNIMOTokenizer.from_pretrained(str(folder))
    except Exception as error:  # whatever the files beside vocab.txt make it raise
        raise ModelError(
            f"{folder}: the tokenizer cannot be loaded: {type(error).__name__}: {error}; save it"
            " again with UNIMOTokenizer.save_pretrained"
        ) from error
    _check_special_tokens(folder, tokenizer)
    return tokenizer


def read_named_passages(dataset_name: str) -> Iterator[dict[str, Any]]:
    """Read the dev split of one of PaddleNLP's data sets lazily, as records for `parse_record`.

    Raises:
        InputError: PaddleNLP has no such data set, cannot get it, or cannot read it.
    """
    import_paddlenlp()
    from paddlenlp.datasets import load_dataset

    remedy = "give a file in `dataset.predict_file`"
    # names that it has not, it looks up on the Hugging Face hub and then cannot read lazily
    is_name = dataset_name.replace("-", "_").isidentifier()
    if not is_name or find_spec(f"paddlenlp.datasets.{dataset_name}") is None:
        raise InputError(f"PaddleNLP has no data set `{dataset_name}`; {remedy}")
    # It warns that what is read lazily can be read once only, which is what happens here.
    warnings.filterwarnings("ignore", "Reciving generator", UserWarning)
    rows = 0
    try:
        for record in load_dataset(dataset_name, splits="dev", lazy=True):
            rows += 1
            yield record
    except Exception as error:  # a failed download has no exception of its own
        raise InputError(
            f"PaddleNLP's data set `{dataset_name}` cannot be read after {rows} rows:"
            f" {type(error).__name__}: {error}; check the network, or {remedy}"
        ) from error


def _check_vocabulary(path: Path) -> None:
    """Find the first line that is not a token, a tab and its id."""
    try:
        with path.open(encoding="utf-8") as file:
            wrong = next((at for at, text in enumerate(file, 1) if not _is_entry(text)), None)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}); `model.model_name_or_path` needs the"
            " vocabulary of its checkpoint"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{path} is not UTF-8 ({error}); copy it again from its checkpoint"
        ) from error
    if wrong is not None:
        raise ModelError(
            f"{path}, line {wrong}: not a token, a tab and its id; copy it again from its"
            " checkpoint"
        )


def _is_entry(line: str) -> bool:
    token, tab, index = line.rstrip("\n").partition("\t")
    return bool(token and tab) and index.isascii() and index.isdigit()


def _check_special_tokens(folder: Path, tokenizer: Any) -> None:  # noqa: ANN401
    """PaddleNLP gives a special token that is missing the id of [UNK] and goes on."""
    tokens = [getattr(tokenizer, name) for name in _SPECIAL_TOKENS]
    missing = [token for token in tokens if token not in tokenizer.vocab]
    if missing:
        raise ModelError(
            f"{folder / 'vocab.txt'} lacks {', '.join(missing)}; copy it again from its checkpoint"
        )
