"""A checkpoint's configuration, read once for all who ask about a model; without PaddleNLP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ModelSize:
    """The numbers of a UNIMO model's config that decide its size."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int

    @property
    def parameters(self) -> int:
        """How many numbers its weights are."""
        size, wide = self.hidden, self.intermediate
        layer = self.layer_weights + 9 * size + wide
        embeddings = (self.vocabulary + self.positions + self.types) * size + 2 * size
        head = size * size + 3 * size + self.vocabulary
        return self.layers * layer + embeddings + head

    @property
    def layer_weights(self) -> int:
        """Weights of a layer that each token is multiplied by: Q, K, V, output and feed-forward."""
        return 4 * self.hidden**2 + 2 * self.hidden * self.intermediate

    @property
    def head_weights(self) -> int:
        """Weights that make logits of a token: the head's transform and the vocabulary."""
        return self.hidden**2 + self.hidden * self.vocabulary

    def __str__(self) -> str:
        """Return the size in words."""
        millions = self.parameters / 1e6
        return f"{self.layers} layers of {self.hidden}, {millions:.1f} M weights"
