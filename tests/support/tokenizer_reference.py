"""PaddleNLP's tokenizer, the reference for ours, and vocabularies for both."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tasks.engine.paddle.runtime import import_paddlenlp
from tasks.load.templates import Role, fill_template
from tasks.passages.records import Passage

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
PIECES = "0123456789abcdefghijklmnopqrstuvwxyz"
COMMON = "的一是在有已知前提下中国长江河流大最问题答案上文：，。？！、“”（）《》[]" + PIECES
PASSAGE = Passage(0, 1, "a", "长江是中国最大的河流。", "长江", None, None, ())
Tokenizer = Any  # PaddleNLP publishes no types


def write_vocabulary(folder: Path, tokens: Iterable[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{token}\t{index}\n" for index, token in enumerate(dict.fromkeys(tokens))]
    (folder / "vocab.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def write_common_vocabulary(folder: Path) -> Path:
    return write_vocabulary(folder, [*SPECIAL, *COMMON, *(f"##{one}" for one in PIECES), "long"])


def load_reference(folder: Path, template: int = 1) -> Tokenizer:
    """Return PaddleNLP's tokenizer, configured to keep the markers of template 4 whole."""
    reference = import_paddlenlp().transformers.UNIMOTokenizer.from_pretrained(str(folder))
    if template == 4:
        markers = {reference.cls_token, reference.sep_token}
        reference.basic_tokenizer.never_split = markers
    return reference


def make_faster(reference: Tokenizer) -> Tokenizer:
    """Cache the tokenizer's results per word, which takes a third of the time."""
    words, characters = reference.wordpiece_tokenizer, reference.basic_tokenizer
    words.tokenize = cache(words.tokenize)
    characters._run_strip_accents = cache(characters._run_strip_accents)
    split, kept_whole = characters._run_split_on_punc, characters.never_split
    split_by_itself = cache(lambda text: split(text, kept_whole))
    characters._run_split_on_punc = lambda text, _kept_whole: split_by_itself(text)
    return reference


def source_text(reference: Tokenizer, passage: Passage, template: int) -> str:
    """Return the source as one text, as the example makes it."""
    return "".join(
        f" {getattr(reference, piece.text)} " if piece.role is Role.MARKER else piece.text
        for piece in fill_template(passage, template, reference.sep_token).pieces
    )


def reference_tokens(
    reference: Tokenizer,
    passage: Passage,
    template: int,
    max_seq_len: int = 512,
    max_title_len: int = 30,
) -> tuple[list[int], list[int]]:
    """Return token ids and types as the example's `gen_encode` makes them."""
    text = fill_template(passage, template, reference.sep_token)
    encoded = reference.gen_encode(
        source_text(reference, passage, template),
        title=text.title,
        max_seq_len=max_seq_len,
        max_title_len=max_title_len,
        max_target_len=1,
        add_start_token_for_decoding=True,
        return_position_ids=True,
        return_attention_mask=False,  # length x length floats
    )
    return encoded["input_ids"], encoded["token_type_ids"]
