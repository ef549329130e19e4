"""Generate the questions of one batch with a loaded engine, and rank each row's questions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tasks.engine.batch import Batch, Generated, Row, pad_rows

UNFINISHED_PENALTY = 1e3
"""Subtracted from an unfinished sequence's score, as in `select_sum` of PaddleNLP's example."""


class Engine(Protocol):
    """The interface between the workflow and the model."""

    def run(self, batch: Batch) -> Generated:
        """Generate sequences for each row of a batch.

        Returns:
            `tokens`, int32 [batch, num_return_sequences, max_dec_len], and `scores`, float32
            [batch, num_return_sequences], in the order of the batch's rows.

        Raises:
            OutOfMemoryError: the batch does not fit into the device's memory.
            BadOutputError: the model answered with another shape, with token ids outside the
                vocabulary, or with scores that are not numbers.
            WorkerError: the model failed in another way.
            InputError: the batch is not one that the model can take.
        """


class Detokenizer(Protocol):
    """Turns generated tokens into text."""

    def decode(self, output_ids: Sequence[int]) -> str:
        """Return the question without the template's prefix and special tokens."""


@dataclass(frozen=True)
class Generator:
    """The loaded model and its vocabulary, which a worker keeps for all of its shards.

    `good_rows` are rows that a healthy engine answers: if it does not, no row is to blame. With
    `is_sampling`, the `number` of each row decides what is drawn for it.
    """

    engine: Engine
    detokenizer: Detokenizer
    pad_token_id: int
    eos_token_id: int
    good_rows: Sequence[Row] = ()
    is_sampling: bool = False


@dataclass(frozen=True)
class Question:
    """One generated sequence.

    Attributes:
        text: without the template's prefix and special tokens.
        score: as the search computes it; None if the engine has none.
        output_ids: the tokens up to and including the eos token, or all if there is none.
        is_finished: whether there is an eos token.
    """

    text: str
    score: float | None
    output_ids: list[int]
    is_finished: bool


def generate_batch(rows: Sequence[Row], generator: Generator) -> list[list[Question]]:
    """Return `num_return_sequences` questions for each row, best first.

    Raises:
        ValueError: there is no row, or one has fewer than two tokens.
        OutOfMemoryError, BadOutputError, WorkerError, InputError: as `Engine.run`.
    """
    generated = generator.engine.run(pad_rows(rows, generator.pad_token_id))
    return [
        rank(
            make_question(ids, score, generator)
            for ids, score in zip(tokens.tolist(), scores.tolist(), strict=True)
        )
        for tokens, scores in zip(generated.tokens, generated.scores, strict=True)
    ]


def make_question(tokens: list[int], score: float, generator: Generator) -> Question:
    """Return the question of one sequence: tokens [max_dec_len] and a score, NaN for none."""
    eos = generator.eos_token_id
    is_finished = eos in tokens
    output_ids = tokens[: tokens.index(eos) + 1] if is_finished else tokens
    text = generator.detokenizer.decode(output_ids)
    return Question(text, None if math.isnan(score) else score, output_ids, is_finished)


def rank(questions: Iterable[Question]) -> list[Question]:
    """Sort a row's questions as the example does: by score, unfinished ones last.

    Without scores, the finished ones, and the unfinished ones, stay in the engine's order.
    """

    def key(question: Question) -> float:
        return (question.score or 0.0) - (0.0 if question.is_finished else UNFINISHED_PENALTY)

    return sorted(questions, key=key, reverse=True)
