"""Beam search as PaddleNLP's `GenerationMixin` does it, for a static graph.

Letters in shapes: B rows, K beams, V tokens of the vocabulary, T = `max_dec_len`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tasks.config.settings import DecodeSettings
from tasks.engine.contract import SpecialTokens
from tasks.engine.generation.hypotheses import Hypotheses, empty_hypotheses, gather_beams
from tasks.engine.generation.logits_processors import is_early_eos, penalise_repetition
from tasks.engine.generation.search import Choice, GraphInputs, put_token
from tasks.engine.paddle.runtime import Tensor, import_paddle

paddle = import_paddle()
functional = paddle.nn.functional


class BeamState(NamedTuple):
    """The state of `BeamSearch`.

    Attributes:
        beam_scores: float32 [B, K], sums of log probabilities.
        beam_tokens: int32 [B, K, T].
        is_done: bool [B].
        scores, stamps, tokens: the fields of `Hypotheses`.
    """

    beam_scores: Tensor
    beam_tokens: Tensor
    is_done: Tensor
    scores: Tensor
    stamps: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Candidates:
    """The 2 K best continuations of each row, best first.

    Attributes:
        scores: float32 [B, 2 K].
        tokens: int32 [B, 2 K], the last token.
        parents: int64 [B, 2 K].
        sequences: int32 [B, 2 K, T], all tokens.
        is_eos: bool [B, 2 K].
    """

    scores: Tensor
    tokens: Tensor
    parents: Tensor
    sequences: Tensor
    is_eos: Tensor


class BeamSearch:
    """`GenerationMixin.beam_search` with its `BeamSearchScorer`."""

    def __init__(self, decode: DecodeSettings, special: SpecialTokens) -> None:
        self.decode, self.special = decode, special
        self.num_beams = decode.num_beams

    def start(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the state before the first step, where beams are equal and only beam 0 counts."""
        beams, length = self.num_beams, self.decode.max_dec_len
        first = paddle.to_tensor([[0.0] + [-1e6] * (beams - 1)], dtype="float32")
        return BeamState(
            paddle.expand(first, [rows, beams]),
            paddle.full([rows, beams, length], self.special.pad, dtype="int32"),
            paddle.full([rows], False, dtype="bool"),
            *empty_hypotheses(rows, beams, length, self.special.pad),
        )

    def step(
        self, logits: Tensor, length: Tensor, state: tuple[Tensor, ...], inputs: GraphInputs
    ) -> Choice:
        """Choose the next token of each beam, as `BeamSearchScorer.process` does."""
        beam_scores, beam_tokens, is_done, *kept = state
        found = self._candidates(logits, length, beam_scores, beam_tokens, inputs)
        divisor = self._length_divisor(length)
        hypotheses = self._add_finished(Hypotheses(*kept), found, length, divisor, is_done)
        is_done = is_done | self._has_ended(hypotheses, found, divisor)
        going_on = self._first_unfinished(found)
        state = BeamState(
            paddle.take_along_axis(found.scores, going_on, axis=1),
            gather_beams(found.sequences, going_on),
            is_done,
            *hypotheses,
        )
        tokens = paddle.take_along_axis(found.tokens, going_on, axis=1)
        return Choice(tokens, paddle.take_along_axis(found.parents, going_on, axis=1), state)

    def is_done(self, state: tuple[Tensor, ...]) -> Tensor:
        """Return which rows need no further step: bool [B]."""
        return BeamState(*state).is_done

    def result(self, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return the best sequences and their scores, as `BeamSearchScorer.finalize` does.

        The unfinished beams of rows that are not done after the last step are added too.
        """
        beam_scores, beam_tokens, is_done, *kept = state
        length = paddle.full([1], self.decode.max_dec_len, dtype="int64")
        hypotheses = Hypotheses(*kept).add(
            scores=paddle.cast(beam_scores, "float64") / self._length_divisor(length),
            tokens=beam_tokens,
            wanted=paddle.ones_like(beam_scores, "bool") & ~paddle.unsqueeze(is_done, 1),
            first_stamp=length * self.num_beams,
        )
        return hypotheses.best(self.decode.num_return_sequences)

    def _best_of_beams(
        self, logits: Tensor, length: Tensor, beam_tokens: Tensor, inputs: GraphInputs
    ) -> tuple[Tensor, Tensor]:
        """Return the log probabilities of each beam's best 2 K tokens, and the tokens, [B, K, 2 K].

        They include the best of the row. The logarithm is monotonic, so it is computed for these
        only, unless repetition is penalised, which PaddleNLP does after the logarithm.
        """
        probabilities = self._without_early_eos(functional.softmax(logits), length)
        count = min(2 * self.num_beams, logits.shape[-1])
        penalty = self.decode.repetition_penalty
        if penalty == 1.0:
            top, top_tokens = paddle.topk(probabilities, count, axis=-1)
            return paddle.log(top), top_tokens
        logs = penalise_repetition(paddle.log(probabilities), penalty, beam_tokens, inputs)
        top, top_tokens = paddle.topk(logs, count, axis=-1)
        return top, top_tokens

    def _candidates(
        self,
        logits: Tensor,
        length: Tensor,
        beam_scores: Tensor,
        beam_tokens: Tensor,
        inputs: GraphInputs,
    ) -> Candidates:
        """Return the best 2 K continuations of all beams of a row together."""
        top, top_tokens = self._best_of_beams(logits, length, beam_tokens, inputs)
        scores = top + paddle.unsqueeze(beam_scores, 2)
        best = self._best_of_row(scores)
        parents = best // top.shape[-1]
        tokens = paddle.take_along_axis(paddle.flatten(top_tokens, 1), best, axis=1)
        tokens = paddle.cast(tokens, "int32")
        return Candidates(
            scores=paddle.take_along_axis(paddle.flatten(scores, 1), best, axis=1),
            tokens=tokens,
            parents=parents,
            sequences=put_token(gather_beams(beam_tokens, parents), tokens, length),
            is_eos=tokens == self.special.eos,
        )

    def _best_of_row(self, scores: Tensor) -> Tensor:
        """Rank [B, K, n] scores, n best first in each beam: int64 [B, 2 K] into K * n.

        With `diversity_rate`, the continuations of a beam are ranked with a penalty by their rank
        in the beam, but keep their scores (`GenerationMixin.beam_search`).
        """
        if self.decode.diversity_rate > 0:
            ranks = paddle.arange(1, scores.shape[-1] + 1, dtype="int64")
            scores = scores - paddle.cast(ranks, "float32") * self.decode.diversity_rate
        return paddle.topk(paddle.flatten(scores, 1), 2 * self.num_beams, axis=1)[1]

    def _without_early_eos(self, probabilities: Tensor, length: Tensor) -> Tensor:
        """Forbid eos while a sequence is too short (`MinLengthLogitsProcessor`).

        This comes after softmax: the probability of eos is lost, not redistributed.
        """
        if self.decode.min_dec_len == 0:
            return probabilities
        is_forbidden = is_early_eos(
            probabilities.shape[-1], self.special.eos, length, self.decode.min_dec_len
        )
        return probabilities * paddle.cast(~is_forbidden, "float32")

    def _add_finished(
        self,
        hypotheses: Hypotheses,
        found: Candidates,
        length: Tensor,
        divisor: Tensor,
        is_done: Tensor,
    ) -> Hypotheses:
        """Add the candidates that end, best first; candidates below rank K are ignored."""
        beams = self.num_beams
        return hypotheses.add(
            scores=paddle.cast(found.scores[:, :beams], "float64") / divisor,
            tokens=found.sequences[:, :beams],
            wanted=found.is_eos[:, :beams] & ~paddle.unsqueeze(is_done, 1),
            first_stamp=length * beams,
        )

    def _has_ended(self, hypotheses: Hypotheses, found: Candidates, divisor: Tensor) -> Tensor:
        """Return which rows need no further step (`BeamHypotheses.is_done`), bool [B]."""
        if self.decode.early_stopping:
            return hypotheses.is_full()
        best = paddle.cast(paddle.max(found.scores, axis=1), "float64") / divisor
        return hypotheses.cannot_improve(best)

    def _first_unfinished(self, found: Candidates) -> Tensor:
        """Return the ranks of the first K candidates that do not end: int64 [B, K].

        There are always K: each beam has one eos, so at most K of the 2 K candidates end.
        """
        count = 2 * self.num_beams
        last = paddle.cast(found.is_eos, "int64") * count
        order = paddle.argsort(paddle.arange(count, dtype="int64") + last, axis=1)
        return order[:, : self.num_beams]

    def _length_divisor(self, length: Tensor) -> Tensor:
        """Return ((length + 5) / 6) ** length_penalty, float64 [1], for `length` int64 [1]."""
        table = length_divisors(self.decode.max_dec_len, self.decode.length_penalty)
        return paddle.gather(paddle.to_tensor(table, dtype="float64"), length)


def length_divisors(max_dec_len: int, length_penalty: float) -> list[float]:
    """Return ((n + 5) / 6) ** length_penalty for n = 0 ... max_dec_len (`BeamHypotheses.add`).

    They are Python floats, as in PaddleNLP; the graph only looks them up.
    """
    return [((length + 5) / 6) ** length_penalty for length in range(max_dec_len + 1)]
