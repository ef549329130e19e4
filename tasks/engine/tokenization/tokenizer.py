"""Text to token ids and back, as PaddleNLP's `UNIMOTokenizer` does, mostly without PaddleNLP.

Tokenizer files like those that UNIMO was published with do not need PaddleNLP, which takes seconds
to import. For all others, PaddleNLP's own tokenizer is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.engine.model_files import TOKENIZER_FILES, ModelFiles
from tasks.engine.paddle.runtime import Untyped, import_paddlenlp
from tasks.engine.tokenization.vocabulary import (
    CONFIG_FILE,
    SPECIAL_TOKENS,
    VOCAB_FILE,
    PlainTokenizer,
    read_plain_tokenizer,
    read_vocabulary,
)
from tasks.engine.tokenization.wordpiece import Ids, WordPieces
from tasks.errors import ModelError


@dataclass(frozen=True)
class TextTokenizer:
    """The tokenizer of a model checkpoint; special tokens have the names of PaddleNLP's attributes.

    `first_ids(text, most)` returns the ids of the first `most` word pieces of a text. Whatever it
    contains, none of them is special except [UNK].
    """

    special: Mapping[str, str]
    special_ids: Mapping[str, int]
    tokens: Mapping[int, str]
    first_ids: Callable[[str, int], Ids]


def load_text_tokenizer(model: str | Path | ModelFiles) -> TextTokenizer:
    """Load the tokenizer of a checkpoint folder.

    Raises:
        ModelError: `vocab.txt` is missing, or is not a vocabulary of UNIMO; or a file has changed
            since `model` was made.
    """
    files = _files_of(model)
    plain = read_plain_tokenizer(files)
    if plain is None:
        return _through_paddlenlp(load_paddlenlp_tokenizer(files))
    return _without_paddlenlp(plain)


def load_paddlenlp_tokenizer(model: str | Path | ModelFiles) -> Untyped:
    """Return PaddleNLP's `UNIMOTokenizer` of a checkpoint folder.

    Raises:
        ModelError: `vocab.txt` is missing, or is not a vocabulary of UNIMO; a file has changed
            since `model` was made, or refers to another folder.
    """
    files = _files_of(model)
    read_vocabulary(files)  # PaddleNLP does not report what is wrong with it
    transformers = import_paddlenlp().transformers
    try:
        with files.copied(sorted(TOKENIZER_FILES)) as folder:
            _check_paths(files.folder, folder)
            tokenizer = transformers.UNIMOTokenizer.from_pretrained(str(folder))
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # the files beside vocab.txt can make it raise anything
        raise ModelError(
            f"{files.folder}: the tokenizer cannot be loaded: {type(error).__name__}: {error}; save"
            " it again with UNIMOTokenizer.save_pretrained"
        ) from error
    _check_special_tokens(files.folder, tokenizer)
    return tokenizer


def _files_of(model: str | Path | ModelFiles) -> ModelFiles:
    if isinstance(model, ModelFiles):
        return model
    return ModelFiles.of_tokenizer(Path(model).absolute())


def _check_paths(original: Path, copy: Path) -> None:
    """Refuse a vocabulary elsewhere, which PaddleNLP would read instead of the one in the folder.

    A path to the vocabulary in the folder itself is removed from the copy.
    """
    path = copy / CONFIG_FILE
    config = json.loads(path.read_bytes()) if path.is_file() else {}
    named = config.pop("vocab_file", None) if isinstance(config, dict) else None
    if named is None:
        return
    place = Path(str(named))
    if place.is_file() and not place.samefile(original / VOCAB_FILE):
        raise ModelError(
            f"{original / CONFIG_FILE} names another vocabulary, {place}; remove `vocab_file` from "
            f"it, so that {VOCAB_FILE} in the same folder is read"
        )
    path.write_text(json.dumps(config), encoding="utf-8")


def join_pieces(tokens: Iterable[str]) -> list[str]:
    """Join word pieces into words, as `UNIMOTokenizer.merge_subword` does."""
    words: list[str] = []
    for token in tokens:
        if token.startswith("##") and words:
            words[-1] += token[2:]
        else:
            words.append(token.removeprefix("##"))
    return words


def _without_paddlenlp(plain: PlainTokenizer) -> TextTokenizer:
    pieces = WordPieces(plain.ids, SPECIAL_TOKENS["unk_token"], plain.lower_case)
    return TextTokenizer(
        special=SPECIAL_TOKENS,
        special_ids={name: plain.ids[token] for name, token in SPECIAL_TOKENS.items()},
        tokens={index: token for token, index in plain.ids.items()},
        first_ids=pieces.first_ids,
    )


def _through_paddlenlp(tokenizer: Untyped) -> TextTokenizer:
    added = tokenizer.added_tokens_decoder
    special = {name: getattr(tokenizer, name) for name in SPECIAL_TOKENS}
    hidden = dict.fromkeys(special.values(), special["unk_token"])

    def first_ids(text: str, most: int) -> Ids:
        # A special token without brackets could be a word of the text.
        tokens = [hidden.get(token, token) for token in tokenizer._tokenize(text)]
        return np.array(tokenizer.convert_tokens_to_ids(tokens[:most]), np.int32)

    return TextTokenizer(
        special=special,
        special_ids={name: int(getattr(tokenizer, f"{name}_id")) for name in SPECIAL_TOKENS},
        tokens={one: added.get(one, token) for one, token in tokenizer.vocab.idx_to_token.items()},
        first_ids=first_ids,
    )


def _check_special_tokens(folder: Path, tokenizer: Untyped) -> None:
    """Check that no special token is missing; PaddleNLP silently gives those the id of [UNK]."""
    tokens = [getattr(tokenizer, name) for name in SPECIAL_TOKENS]
    missing = [token for token in tokens if token not in tokenizer.vocab]
    if missing:
        raise ModelError(
            f"{folder / 'vocab.txt'} lacks {', '.join(missing)}; copy it again from its checkpoint"
        )
