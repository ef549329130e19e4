from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.batch import Batch, Generated, Row
from tasks.predict.questions import Generator, Question, generate_batch, make_question, rank

PAD, EOS = 0, 3


class Echo:
    """An engine that returns the second token of a row, with the row's length as the score."""

    def run(self, batch: Batch) -> Generated:
        tokens = np.full((len(batch), 1, 4), PAD, np.int32)
        tokens[:, 0, 0], tokens[:, 0, 1] = batch.input_ids[:, 1], EOS
        return Generated(tokens, batch.seq_len.astype(np.float32)[:, None])


class Spell:
    def decode(self, output_ids: Sequence[int]) -> str:
        return "-".join(map(str, output_ids))


GENERATOR = Generator(Echo(), Spell(), pad_token_id=PAD, eos_token_id=EOS)


def test_a_batch_is_answered_row_by_row() -> None:
    rows = [Row([1, 100 + number, 9], [0, 0, 1]) for number in range(5)]
    answers = generate_batch(rows, GENERATOR)
    assert [ranked[0].text for ranked in answers] == [f"{100 + n}-{EOS}" for n in range(5)]


@given(st.lists(st.integers(4, 50), max_size=10), st.integers(0, 5))
def test_a_sequence_is_cut_behind_its_eos(body: list[int], padding: int) -> None:
    question = make_question([*body, EOS, *[PAD] * padding], 0.5, GENERATOR)
    assert question.output_ids == [*body, EOS]
    assert question.is_finished
    assert not make_question(body, 0.5, GENERATOR).is_finished


@given(st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=1))
def test_questions_are_ranked_by_score_with_unfinished_ones_last(
    found: list[tuple[float, bool]],
) -> None:
    questions = [Question(str(n), score, [], ended) for n, (score, ended) in enumerate(found)]
    ranked = rank(questions)
    # select_sum of PaddleNLP's example: subtract 1e3 if unfinished, then a stable descending sort
    expected = sorted(questions, key=lambda q: -(q.score - (0 if q.is_finished else 1e3)))
    assert ranked == expected
    ended = [question.is_finished for question in ranked]
    assert ended == sorted(ended, reverse=True)
