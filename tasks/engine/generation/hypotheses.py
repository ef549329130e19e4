"""PaddleNLP's `BeamHypotheses` for all rows at once, in a static graph.

Letters in shapes: B rows, K beams (and kept hypotheses), T = `max_dec_len`.
"""

from __future__ import annotations

from typing import NamedTuple

from tasks.engine.paddle.runtime import Tensor, import_paddle

paddle = import_paddle()


class Hypotheses(NamedTuple):
    """The best finished sequences of every row so far.

    Attributes:
        scores: float64 [B, K]; -inf in an empty slot. PaddleNLP compares Python floats.
        stamps: int64 [B, K]: the order in which they were added, which decides between equal
            scores; unique in a row, negative in an empty slot.
        tokens: int32 [B, K, T].
    """

    scores: Tensor
    stamps: Tensor
    tokens: Tensor

    def add(
        self, scores: Tensor, tokens: Tensor, wanted: Tensor, first_stamp: Tensor
    ) -> Hypotheses:
        """Add M finished sequences to each row, one after the other, if they are good enough.

        Args:
            scores: float64 [B, M].
            tokens: int32 [B, M, T].
            wanted: bool [B, M], which of them to consider.
            first_stamp: int64 [1], higher than all earlier stamps; sequence m gets this + m.
        """
        kept_scores, stamps = self.scores, self.stamps
        for index in range(scores.shape[1]):
            taken = _place(kept_scores, stamps, scores[:, index : index + 1])
            taken = taken & wanted[:, index : index + 1]
            kept_scores = paddle.where(taken, scores[:, index : index + 1], kept_scores)
            stamps = paddle.where(taken, first_stamp + index, stamps)
        own = paddle.arange(stamps.shape[1], dtype="int64")
        offered = stamps - first_stamp + own.shape[0]
        origin = paddle.where(stamps >= first_stamp, offered, paddle.expand_as(own, stamps))
        choices = paddle.concat([self.tokens, tokens], axis=1)
        return Hypotheses(kept_scores, stamps, gather_beams(choices, origin))

    def is_full(self) -> Tensor:
        """Return which rows have as many finished sequences as they can keep, bool [B]."""
        return paddle.min(self.stamps, axis=1) >= 0

    def cannot_improve(self, best_score: Tensor) -> Tensor:
        """Return which rows are done, as `BeamHypotheses.is_done` does, bool [B].

        Args:
            best_score: float64 [B], the best score that an unfinished sequence can still reach.
        """
        return self.is_full() & (paddle.min(self.scores, axis=1) >= best_score)

    def best(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the `count` best as tokens int32 [B, count, T] and scores float32 [B, count].

        They are sorted by score, highest first, and equal scores by stamp, latest first, as
        `BeamSearchScorer.finalize` does by sorting in ascending order and popping.
        """
        scores, other_scores = paddle.unsqueeze(self.scores, 2), paddle.unsqueeze(self.scores, 1)
        stamps, other_stamps = paddle.unsqueeze(self.stamps, 2), paddle.unsqueeze(self.stamps, 1)
        is_later = (other_scores == scores) & (other_stamps > stamps)
        is_better = (other_scores > scores) | is_later
        rank = paddle.sum(paddle.cast(is_better, "int64"), axis=2)
        order = paddle.argsort(rank, axis=1)[:, :count]
        best_scores = paddle.take_along_axis(self.scores, order, axis=1)
        return gather_beams(self.tokens, order), paddle.cast(best_scores, "float32")


def empty_hypotheses(rows: Tensor, num_beams: int, max_dec_len: int, pad: int) -> Hypotheses:
    """Return `num_beams` empty slots for each of `rows` rows, a scalar tensor."""
    stamps = paddle.arange(-num_beams, 0, dtype="int64")
    return Hypotheses(
        paddle.full([rows, num_beams], float("-inf"), dtype="float64"),
        paddle.expand(paddle.unsqueeze(stamps, 0), [rows, num_beams]),
        paddle.full([rows, num_beams, max_dec_len], pad, dtype="int32"),
    )


def _place(scores: Tensor, stamps: Tensor, score: Tensor) -> Tensor:
    """Return which slot a new sequence takes, if any, as `BeamHypotheses.add` does, bool [B, K].

    It takes an empty slot, or the one with the lowest score (of equal ones, the oldest) if its own
    score is higher.
    """
    lowest = paddle.min(scores, axis=1, keepdim=True)
    oldest = paddle.where(scores == lowest, stamps, paddle.full_like(stamps, 2**62))
    oldest = paddle.min(oldest, axis=1, keepdim=True)
    return (stamps == oldest) & ((oldest < 0) | (score > lowest))


def gather_beams(values: Tensor, beams: Tensor) -> Tensor:
    """Gather rows of `values` [B, K, N] by `beams` int64 [B, M]; return [B, M, N]."""
    width, count = values.shape[1], beams.shape[1]
    rows = paddle.arange(paddle.shape(beams)[0], dtype="int64")
    index = paddle.flatten(beams + paddle.unsqueeze(rows, 1) * width)
    chosen = paddle.gather(paddle.flatten(values, 0, 1), index)
    # Keep a static size if it is known: later operators need it while the graph is built.
    size = values.shape[2] if values.shape[2] > 0 else paddle.shape(values)[2]
    return paddle.reshape(chosen, [-1, count, size])
