"""The tokenizer files of a UNIMO checkpoint, read without PaddleNLP."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.engine.model_files import ModelFiles
from tasks.errors import ModelError

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "unk_token": "[UNK]",
}
"""UNIMO's special tokens by the names of PaddleNLP's attributes."""

VOCAB_FILE = "vocab.txt"
CONFIG_FILE = "tokenizer_config.json"
_SPECIAL_FILE = "special_tokens_map.json"
_ADDED_FILE = "added_tokens.json"
# PaddleNLP writes these, but they do not change how text is tokenized.
_IDLE_OPTIONS = {"tokenizer_class", "init_class", "model_max_length", "special_tokens_map_file"}


@dataclass(frozen=True)
class PlainTokenizer:
    """The vocabulary of a tokenizer that works as UNIMO's was published: ids by token."""

    ids: dict[str, int]
    lower_case: bool


def read_plain_tokenizer(files: ModelFiles) -> PlainTokenizer | None:
    """Return a checkpoint's tokenizer; None if it has options that require PaddleNLP.

    Raises:
        ModelError: `vocab.txt` is missing, or is not a vocabulary of UNIMO; or a file has changed.
    """
    ids = read_vocabulary(files)
    special = {ids.get(token, -1) for token in SPECIAL_TOKENS.values()}
    is_plain = (
        -1 not in special
        and len(special) == len(SPECIAL_TOKENS)
        and max(ids.values()) < 1 << 31  # ids are int32
        and _ADDED_FILE not in files
        and _is_usual(_read_object(files, _SPECIAL_FILE))
    )
    config = _read_object(files, CONFIG_FILE)
    if not is_plain or config is None:
        return None
    options = {name: value for name, value in config.items() if name not in _IDLE_OPTIONS}
    lower_case = options.pop("do_lower_case", True)
    if not isinstance(lower_case, bool) or not _is_usual(options):
        return None
    return PlainTokenizer(ids, lower_case)


def read_vocabulary(files: ModelFiles) -> dict[str, int]:
    """Return the id of each token of a vocabulary; if a token is on two lines, the later id.

    Raises:
        ModelError: it cannot be read or has changed, or a line is not a token, a tab and its id.
    """
    path = files.folder / VOCAB_FILE
    lines = io.TextIOWrapper(io.BytesIO(files.read(VOCAB_FILE)), encoding="utf-8")
    try:
        return dict(_parse(path, number, text) for number, text in enumerate(lines, 1))
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{path} is not UTF-8 ({error}); copy it again from its checkpoint"
        ) from error


def _parse(path: Path, line: int, text: str) -> tuple[str, int]:
    token, tab, index = text.rstrip("\n").partition("\t")
    if not (token and tab and index.isascii() and index.isdigit()):
        raise ModelError(
            f"{path}, line {line}: not a token, a tab and its id; copy it again from its checkpoint"
        )
    return token, int(index)


def _read_object(files: ModelFiles, name: str) -> dict[str, Any] | None:
    """Return the object in a JSON file: empty without a file, None if it is no object."""
    if name not in files:
        return {}
    try:
        value = json.loads(files.read(name))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_usual(tokens: dict[str, Any] | None) -> bool:
    """Return whether these are special tokens, each with UNIMO's value."""
    return tokens is not None and tokens.items() <= SPECIAL_TOKENS.items()
