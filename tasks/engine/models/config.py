"""The configuration of a model checkpoint, read without PaddleNLP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

CONFIG_FILES = ("config.json", "model_config.json")
"""The current name, and the name before PaddleNLP 2.5; the first file that exists is used."""


def _size(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


Size = Annotated[int | None, BeforeValidator(_size)]
"""A positive integer; None if a config has no valid value."""


class ModelConfig(BaseModel):
    """The part of a configuration that Wenti uses, with PaddleNLP's names.

    Attributes:
        architecture: the class of the saved model; None if it is missing.
        hidden_size: E.
        num_hidden_layers: N.
        num_attention_heads: H.
        intermediate_size: size between the two feed-forward layers.
        vocab_size: V.
        max_position_embeddings: maximum tokens of a sequence.
        type_vocab_size: number of token types.
        normalize_before: whether layers normalize their inputs instead of their outputs.
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
    """Return the configuration in a file's content; empty if it is not a JSON object."""
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
    """Return the configuration of a checkpoint; empty if it cannot be read.

    `tasks.engine.models.checkpoint.checkpoint_faults` reports what is wrong with it.
    """
    path = find_config(folder)
    try:
        return ModelConfig() if path is None else load_config(path)
    except (OSError, ValueError):
        return ModelConfig()


def _architecture(config: Mapping[str, Any]) -> str | None:
    """Return the class named by `architectures` or, in older files, by `init_class`."""
    names = config.get("architectures") or [config.get("init_class")]
    return str(names[0]) if isinstance(names, list) and names and names[0] else None


def _flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all keys, including those of the model inside `init_args` before PaddleNLP 2.5.

    Outer keys override inner ones, as in PaddleNLP's `flatten_model_config`.
    """
    arguments = config.get("init_args")
    parts = arguments if isinstance(arguments, list) else []
    flat: dict[str, Any] = {}
    for part in reversed([one for one in parts if isinstance(one, dict)]):
        flat |= _flatten(part)
    return flat | dict(config)


@dataclass(frozen=True)
class ModelSize:
    """The values of a UNIMO model's config that determine its size."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        size, wide = self.hidden, self.intermediate
        layer = self.layer_weights + 9 * size + wide
        embeddings = (self.vocabulary + self.positions + self.types) * size + 2 * size
        head = size * size + 3 * size + self.vocabulary
        return self.layers * layer + embeddings + head

    @property
    def layer_weights(self) -> int:
        """The number of weights in a layer's matrices: Q, K, V, output and feed-forward."""
        return 4 * self.hidden**2 + 2 * self.hidden * self.intermediate

    @property
    def head_weights(self) -> int:
        """The number of weights that compute logits: the head's transform and the vocabulary."""
        return self.hidden**2 + self.hidden * self.vocabulary

    def __str__(self) -> str:
        """Return the size in words."""
        millions = self.parameters / 1e6
        return f"{self.layers} layers of {self.hidden}, {millions:.1f} M weights"
