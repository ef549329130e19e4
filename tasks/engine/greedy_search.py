"""Greedy search as PaddleNLP's `GenerationMixin` does it, for a static graph.

Letters in shapes: B rows, V tokens of the vocabulary, T = `max_dec_len`.
"""

from __future__ import annotations

from typing import NamedTuple

import paddle

from tasks.engine.contract import SpecialTokens
from tasks.engine.runtime import Tensor
from tasks.engine.search import FORBIDDEN, Choice, put_token
from tasks.settings import DecodeSettings


class GreedyState(NamedTuple):
    """Tokens int32 [B, 1, T], scores float32 [B, 1], is_done bool [B, 1]."""

    tokens: Tensor
    scores: Tensor
    is_done: Tensor


class GreedySearch:
    """`GenerationMixin.greedy_search`: the most probable token each time."""

    num_beams = 1

    def __init__(self, decode: DecodeSettings, special: SpecialTokens) -> None:
        self.decode, self.special = decode, special

    def start(self, rows: Tensor) -> tuple[Tensor, ...]:
        """See `Search.start`."""
        return GreedyState(
            paddle.full([rows, 1, self.decode.max_dec_len], self.special.pad, dtype="int32"),
            paddle.zeros([rows, 1], dtype="float32"),
            paddle.full([rows, 1], False, dtype="bool"),
        )

    def step(self, logits: Tensor, length: Tensor, state: tuple[Tensor, ...]) -> Choice:
        """See `Search.step`; the score is a running mean (`update_scores_for_generation`)."""
        tokens, scores, is_done = state
        logits = self._without_early_eos(logits, length)
        chosen = paddle.argmax(logits, axis=-1, keepdim=True)
        logit = paddle.squeeze(paddle.take_along_axis(logits, chosen, axis=-1), 2)
        chosen = paddle.cast(paddle.squeeze(chosen, 2), "int32")
        chosen = paddle.where(is_done, paddle.full_like(chosen, self.special.pad), chosen)
        steps = paddle.cast(length, "float32")
        scores = paddle.where(is_done, scores, (scores * steps + logit) / (steps + 1))
        is_done = is_done | (chosen == self.special.eos)
        state = GreedyState(put_token(tokens, chosen, length), scores, is_done)
        return Choice(chosen, paddle.zeros_like(chosen, dtype="int64"), state)

    def is_done(self, state: tuple[Tensor, ...]) -> Tensor:
        """See `Search.is_done`."""
        return paddle.squeeze(GreedyState(*state).is_done, 1)

    def result(self, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """See `Search.result`."""
        return state[0], state[1]

    def _without_early_eos(self, logits: Tensor, length: Tensor) -> Tensor:
        """Forbid eos while a sequence is too short (`MinLengthLogitsProcessor`)."""
        if self.decode.min_dec_len == 0:
            return logits
        is_eos = paddle.arange(logits.shape[-1], dtype="int64") == self.special.eos
        is_forbidden = is_eos & (length < self.decode.min_dec_len)
        return logits + paddle.cast(is_forbidden, "float32") * FORBIDDEN
