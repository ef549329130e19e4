"""The interface of a search: beam search, greedy search or sampling.

A search keeps its state in a named tuple of tensors, which become variables of the graph's loop.
Letters in shapes: B rows, L length of the batch, K beams, V tokens of the vocabulary, T =
`max_dec_len`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from tasks.engine.paddle.runtime import Tensor, import_paddle

paddle = import_paddle()


class GraphInputs(NamedTuple):
    """The inputs of the graph that a search may use; the same in every step.

    Attributes:
        input_ids: int32 [B, L], padded on the right.
        uniforms: float32 [B, K, T], each in [0, 1); only for sampling.
    """

    input_ids: Tensor
    uniforms: Tensor | None


class Choice(NamedTuple):
    """The result of one step of a search.

    Attributes:
        tokens: int32 [B, K], the next token of each beam.
        parents: int64 [B, K], the beam that each token continues.
        state: the state of the search after the step.
    """

    tokens: Tensor
    parents: Tensor
    state: tuple[Tensor, ...]


class Search(Protocol):
    """The interface of a search for the decode graph."""

    num_beams: int

    def start(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the state before the first step; `rows` is the number of rows."""

    def step(
        self, logits: Tensor, length: Tensor, state: tuple[Tensor, ...], inputs: GraphInputs
    ) -> Choice:
        """Choose the next tokens.

        Args:
            logits: float32 [B, K, V], very low for tokens that the model never generates.
            length: int64 [1], the number of tokens that each beam has so far.
            state: as returned by `start` or the last step.
            inputs: the rows.
        """

    def is_done(self, state: tuple[Tensor, ...]) -> Tensor:
        """Return which rows need no further step, bool [B]."""

    def result(self, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return tokens int32 [B, num_return_sequences, T] and scores float32, without T."""


def put_token(sequences: Tensor, tokens: Tensor, position: Tensor) -> Tensor:
    """Return `sequences` int32 [B, K, T] with `tokens` int32 [B, K] at `position` int64 [1]."""
    is_here = paddle.arange(sequences.shape[-1], dtype="int64") == position
    tokens = paddle.expand_as(paddle.unsqueeze(tokens, 2), sequences)
    return paddle.where(paddle.expand_as(is_here, sequences), tokens, sequences)
