"""A checkpoint's configuration, read once for all who ask about a model; without PaddleNLP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

CONFIG_FILES = ("config.json", "model_config.json")
"""Today's name and the one of PaddleNLP before 2.5; the first that is there counts."""


def _size(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


Size = Annotated[int | None, BeforeValidator(_size)]
"""A positive number; None where a config says nothing or something else."""


class ModelConfig(BaseModel):
    """What Wenti asks of a configuration, under PaddleNLP's names.

    Attributes:
        architecture: the class of the model that was saved; None if it is not named.
        hidden_size: E.
        num_hidden_layers: N.
        num_attention_heads: H.
        intermediate_size: between the two layers of a feed-forward.
        vocab_size: V.
        max_position_embeddings: most tokens of a sequence.
        type_vocab_size: number of token types.
        normalize_before: whether layers normalise what they take, not what they give.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    architecture: str | None = None
    hidden_size: Size = None
    num_hidden_layers: Size = None
    num_attention_heads: Size = None
    intermediate_size: Size = None
    vocab_size: Size = None
    max_position_embeddings: Size = None
    type_vocab_size: Size = None
    normalize_before: Annotated[bool, BeforeValidator(bool)] = False


def parse_config(content: object) -> ModelConfig:
    """Return the configuration in a file's content; all unknown if it is not a JSON object."""
    config = content if isinstance(content, dict) else {}
    known = {name: value for name, value in _flatten(config).items() if name != "architecture"}
    return ModelConfig(architecture=_architecture(config), **known)


def find_config(folder: Path) -> Path | None:
    """Return the file of a checkpoint's configuration; None if there is none."""
    return next((path for name in CONFIG_FILES if (path := folder / name).is_file()), None)


def load_config(path: Path) -> ModelConfig:
    """Return the configuration in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON.
    """
    try:
        return parse_config(json.loads(path.read_text(encoding="utf-8")))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_config(folder: Path) -> ModelConfig:
    """Return the configuration of a checkpoint; all unknown if it cannot be read.

    What is wrong with it, `tasks.engine.models.checkpoint.checkpoint_faults` says.
    """
    path = find_config(folder)
    try:
        return ModelConfig() if path is None else load_config(path)
    except (OSError, ValueError):
        return ModelConfig()


def _architecture(config: Mapping[str, Any]) -> str | None:
    """Return the class that `architectures` names, or in older files `init_class`."""
    names = config.get("architectures") or [config.get("init_class")]
    return str(names[0]) if isinstance(names, list) and names and names[0] else None


def _flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all keys: before PaddleNLP 2.5 those of the model were inside `init_args`.

    An outer key wins, as in PaddleNLP's `flatten_model_config`.
    """
    arguments = config.get("init_args")
    parts = arguments if isinstance(arguments, list) else []
    flat: dict[str, Any] = {}
    for part in reversed([one for one in parts if isinstance(one, dict)]):
        flat |= _flatten(part)
    return flat | dict(config)
