"""Generating the questions of one batch: what a worker does with an engine it has loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tasks.engine.batch import Batch, Generated, Row, pad_rows

UNFINISHED_PENALTY = 1e3
"""Taken off the score of a sequence that did not end, as in `select_sum` of PaddleNLP's example."""


class Engine(Protocol):
    """The seam between the workflow and the model."""

    def run(self, batch: Batch) -> Generated:
        """Generate sequences for each row of a batch."""


class Detokenizer(Protocol):
    """Turns generated tokens into text."""

    def decode(self, output_ids: Sequence[int]) -> str:
        """Give the question without template prefix and special tokens."""


@dataclass(frozen=True)
class Generator:
    """What a worker holds for as long as it lives: the loaded model and its vocabulary."""

    engine: Engine
    detokenizer: Detokenizer
    pad_token_id: int
    eos_token_id: int
    good_rows: Sequence[Row] = ()  # to tell a broken engine from rows that break it


@dataclass(frozen=True)
class Question:
    """One generated sequence: text, score as the search gives it, tokens up to the eos token.

    The score is None if the engine has none.
    """

    text: str
    score: float | None
    output_ids: list[int]
    is_finished: bool


def generate_batch(rows: Sequence[Row], generator: Generator) -> list[list[Question]]:
    """Give each row's questions, best first."""
    generated = generator.engine.run(pad_rows(rows, generator.pad_token_id))
    return [
        rank(
            make_question(ids, score, generator)
            for ids, score in zip(tokens.tolist(), scores.tolist(), strict=True)
        )
        for tokens, scores in zip(generated.tokens, generated.scores, strict=True)
    ]


def make_question(tokens: list[int], score: float, generator: Generator) -> Question:
    """Cut the padding off one sequence and turn it into text."""
    eos = generator.eos_token_id
    is_finished = eos in tokens
    output_ids = tokens[: tokens.index(eos) + 1] if is_finished else tokens
    text = generator.detokenizer.decode(output_ids)
    return Question(text, None if math.isnan(score) else score, output_ids, is_finished)


def rank(questions: Iterable[Question]) -> list[Question]:
    """Put a row's questions in the example's order: by score, unfinished ones last.

    Without scores, those of each kind stay in the engine's order.
    """

    def key(question: Question) -> float:
        return (question.score or 0.0) - (0.0 if question.is_finished else UNFINISHED_PENALTY)

    return sorted(questions, key=key, reverse=True)
