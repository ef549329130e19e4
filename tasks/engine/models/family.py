"""The interface of a model family; a new family implements these two classes.

`ModelFamily` loads and checks a checkpoint, `Network` computes inside the decode graph. Letters in
shapes: B rows, L length of the batch, P places of a row in the caches, K beams, S slots for
generated tokens, W = P + S, H heads, D size of a head, E hidden size, V tokens of the vocabulary.

This module imports no Paddle; the modules of the families do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from tasks.engine.contract import SpecialTokens
from tasks.engine.model_files import ModelFiles
from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddlenlp


class KeyValue(NamedTuple):
    """Keys and values of one layer, each float32 [B, H, P, D], or [B, H, W, D] with slots."""

    keys: Tensor
    values: Tensor


AddSlots = Callable[[KeyValue], KeyValue]
"""Appends S empty slots to a layer's keys and values."""


class Encoded(NamedTuple):
    """A batch of rows, encoded up to the start token.

    Attributes:
        cached_ids: int32 [B, P], the tokens whose keys and values are in the caches.
        start: float32 [B, 1, E], the start token's hidden state.
        caches: keys and values of each layer with slots, [B, H, W, D].
        mask: float32 [B, 1, P], added to the attention scores of all generated tokens.
        context: what else `embed` and `step` need; used by the network only.
    """

    cached_ids: Tensor
    start: Tensor
    caches: list[KeyValue]
    mask: Tensor
    context: tuple[Tensor, ...]


class Network(Protocol):
    """A `paddle.nn.Layer` with a loaded model's weights, arranged for decoding."""

    num_heads: int

    def named_parameters(self) -> Iterable[tuple[str, Untyped]]:
        """Return the weights with their names, as `paddle.nn.Layer` does."""

    def encode(
        self, input_ids: Tensor, token_type_ids: Tensor, seq_len: Tensor, add_slots: AddSlots
    ) -> Encoded:
        """Encode rows with their start tokens.

        The result must depend on all three inputs: Paddle does not save a graph with an unused
        input.

        Args:
            input_ids: int32 [B, L], padded on the right, each row's last token the start token.
            token_type_ids: int32 [B, L].
            seq_len: int32 [B], tokens of each row, start token included.
            add_slots: to be called with each layer's keys and values as soon as they exist.
        """

    def embed(self, tokens: Tensor, length: Tensor, context: tuple[Tensor, ...]) -> Tensor:
        """Return the first layer's input, float32 [B, K, E].

        Args:
            tokens: int32 [B, K], the newest token of each beam.
            length: int64 [1], number of tokens of each beam, the newest included.
            context: `Encoded.context`.
        """

    def step(
        self,
        hidden: Tensor,
        caches: list[KeyValue],
        slots: Tensor,
        mask: Tensor,
        context: tuple[Tensor, ...],
    ) -> Tensor:
        """Return the hidden states of the newest tokens, float32 [B, K, E].

        Args:
            hidden: float32 [B, K, E], as `embed` returned it.
            caches: one per layer; the keys and values of the newest tokens are written into them.
            slots: int64 [B, H, K, 3], where they are written: row, head, slot.
            mask: float32 [B, K, W], 0 for what a beam may attend to, else very negative.
            context: `Encoded.context`.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the next token's logits, float32 [B, N, V], for hidden states [B, N, E]."""


@dataclass(frozen=True)
class Limits:
    """Limits of the inputs: ids are below the first two; the third is without the start token."""

    vocab_size: int
    type_vocab_size: int
    max_positions: int


class ModelFamily(ABC):
    """PaddleNLP's models of one architecture: how to load, check and compute them.

    Attributes:
        tied_weights: weights that may be missing from a file because they are shared with others.
    """

    tied_weights: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def model_class(self) -> Untyped:
        """PaddleNLP's class of the generating model."""

    @property
    @abstractmethod
    def tokenizer_class(self) -> Untyped:
        """PaddleNLP's class of the tokenizer."""

    @abstractmethod
    def load_tokenizer(self, files: ModelFiles) -> Untyped:
        """Return PaddleNLP's tokenizer of a checkpoint; raise whatever PaddleNLP raises."""

    @abstractmethod
    def find_faults(self, model: Untyped, tokenizer: Untyped) -> list[str]:
        """Return why a loaded model and its tokenizer do not work together."""

    @abstractmethod
    def special_tokens(self, model: Untyped, tokenizer: Untyped) -> SpecialTokens:
        """Return the ids that the search treats specially."""

    @abstractmethod
    def limits(self, model: Untyped) -> Limits:
        """Return the limits of a model's inputs."""

    @abstractmethod
    def make_network(self, model: Untyped, special: SpecialTokens) -> Network:
        """Arrange the weights of a loaded model for decoding; `special` is `special_tokens()`."""

    def make_model(self, config: dict[str, Any], generation: dict[str, Any] | None) -> Untyped:
        """Return a model in float32 without the weights of its checkpoint.

        Args:
            config: the content of a checkpoint's config, in any layout of PaddleNLP's.
            generation: that of its generation_config.json; None: derived from the config.

        Raises whatever PaddleNLP raises.
        """
        paddlenlp = import_paddlenlp("transformers.model_utils", "generation")
        settings = self.model_class.config_class.from_dict(config)
        settings.dtype = "float32"
        with paddlenlp.transformers.model_utils.no_init_weights():
            model = self.model_class.from_config(settings, dtype=settings.dtype)
        for layer in model.sublayers(include_self=True):
            layer._is_initialized = True  # else FasterUNIMOText would do it, after the loading
        from_dict = paddlenlp.generation.GenerationConfig.from_dict
        if generation is not None:
            with suppress(Exception):  # as PaddleNLP does: an invalid file counts as none
                model.generation_config = from_dict(generation)
        return model
