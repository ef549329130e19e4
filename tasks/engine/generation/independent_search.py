"""The common part of greedy search and sampling: sequences that do not compete.

Letters in shapes: B rows, K sequences of a row, V tokens of the vocabulary, T = `max_dec_len`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from tasks.config.settings import DecodeSettings
from tasks.engine.contract import SpecialTokens
from tasks.engine.generation.logits_processors import is_early_eos, penalise_repetition
from tasks.engine.generation.search import Choice, GraphInputs, put_token
from tasks.engine.paddle.runtime import Tensor, import_paddle

paddle = import_paddle()

FORBIDDEN = -1e9
"""Added to the logit of eos while a sequence is too short."""


class SequencesState(NamedTuple):
    """Tokens int32 [B, K, T], scores float32 [B, K], is_done bool [B, K]."""

    tokens: Tensor
    scores: Tensor
    is_done: Tensor


class IndependentSearch(ABC):
    """Generates `num_return_sequences` independent sequences for each row."""

    def __init__(self, decode: DecodeSettings, special: SpecialTokens) -> None:
        self.decode, self.special = decode, special
        self.num_beams = decode.num_return_sequences

    @abstractmethod
    def choose(self, logits: Tensor, length: Tensor, inputs: GraphInputs) -> tuple[Tensor, Tensor]:
        """Choose the next tokens.

        Args:
            logits: float32 [B, K, V].
            length: int64 [1], the number of tokens so far.
            inputs: the rows.

        Returns:
            The tokens, int64 [B, K, 1], and the score of each, float32 [B, K, 1].
        """

    def start(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return empty sequences with scores of 0."""
        shape = [rows, self.num_beams]
        return SequencesState(
            paddle.full([*shape, self.decode.max_dec_len], self.special.pad, dtype="int32"),
            paddle.zeros(shape, dtype="float32"),
            paddle.full(shape, False, dtype="bool"),
        )

    def step(
        self, logits: Tensor, length: Tensor, state: tuple[Tensor, ...], inputs: GraphInputs
    ) -> Choice:
        """Append a token; the score is a running mean (`update_scores_for_generation`)."""
        tokens, scores, is_done = state
        logits = self._without_early_eos(logits, length)
        penalty = self.decode.repetition_penalty
        logits = penalise_repetition(logits, penalty, tokens, inputs)
        chosen, worth = (paddle.squeeze(found, 2) for found in self.choose(logits, length, inputs))
        chosen = paddle.cast(chosen, "int32")
        chosen = paddle.where(is_done, paddle.full_like(chosen, self.special.pad), chosen)
        steps = paddle.cast(length, "float32")
        scores = paddle.where(is_done, scores, (scores * steps + worth) / (steps + 1))
        is_done = is_done | (chosen == self.special.eos)
        state = SequencesState(put_token(tokens, chosen, length), scores, is_done)
        own = paddle.arange(self.num_beams, dtype="int64")
        return Choice(chosen, paddle.expand_as(own, chosen), state)

    def is_done(self, state: tuple[Tensor, ...]) -> Tensor:
        """Return which rows have only finished sequences: bool [B]."""
        return paddle.all(SequencesState(*state).is_done, axis=1)

    def result(self, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return tokens int32 [B, K, T] and their scores, float32 [B, K]."""
        return state[0], state[1]

    def _without_early_eos(self, logits: Tensor, length: Tensor) -> Tensor:
        """Forbid eos while a sequence is too short (`MinLengthLogitsProcessor`)."""
        if self.decode.min_dec_len == 0:
            return logits
        is_forbidden = is_early_eos(
            logits.shape[-1], self.special.eos, length, self.decode.min_dec_len
        )
        return logits + paddle.cast(is_forbidden, "float32") * FORBIDDEN
