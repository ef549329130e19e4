"""The finished hypotheses, compared with PaddleNLP's `BeamHypotheses`, including equal scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engine.paddle.runtime import import_paddle, import_paddlenlp

BEAMS, STEPS = 3, 5
SUMS = st.sampled_from([-4.0, -3.0, -2.0, -1.0])
OFFERS = st.lists(
    st.lists(st.tuples(SUMS, st.booleans()), min_size=BEAMS, max_size=BEAMS),
    min_size=STEPS,
    max_size=STEPS,
)


@settings(max_examples=60)
@given(offers=OFFERS, penalty=st.sampled_from([0.0, 1.0, 1.2]))
def test_keeps_and_orders_what_paddlenlp_keeps(
    offers: list[list[tuple[float, bool]]], penalty: float
) -> None:
    paddle = import_paddle()
    import_paddlenlp()
    from paddlenlp.generation.utils import BeamHypotheses

    from tasks.engine.generation.beam_search import length_divisors
    from tasks.engine.generation.hypotheses import empty_hypotheses

    theirs = BeamHypotheses(BEAMS, penalty, early_stopping=False)
    ours = empty_hypotheses(paddle.to_tensor(1), BEAMS, STEPS, pad=0)
    divisors = length_divisors(STEPS, penalty)
    for step, candidates in enumerate(offers):
        tokens = np.zeros((1, BEAMS, STEPS), np.int32)
        for rank, (total, is_wanted) in enumerate(candidates):
            tokens[0, rank, : step + 1] = 10 * step + rank + 1
            if is_wanted:
                theirs.add(paddle.to_tensor(tokens[0, rank, :step]), total)
        ours = ours.add(
            scores=paddle.to_tensor(
                [[total / divisors[step] for total, _ in candidates]], "float64"
            ),
            tokens=paddle.to_tensor(tokens),
            wanted=paddle.to_tensor([[is_wanted for _, is_wanted in candidates]]),
            first_stamp=paddle.to_tensor([step * BEAMS], "int64"),
        )
        best = max(total for total, _ in candidates)
        expected_done = bool(theirs.is_done(best, step))
        bound = paddle.to_tensor([best / divisors[step]], "float64")
        assert bool(ours.cannot_improve(bound)) == expected_done
        theirs.early_stopping = True
        assert bool(ours.is_full()) == theirs.is_done(best, step)
        theirs.early_stopping = False
    expected = sorted(theirs.beams, key=lambda beam: beam[0])[::-1]
    tokens, scores = ours.best(BEAMS)
    kept = len(expected)
    assert scores.numpy()[0, :kept].tolist() == pytest.approx([score for score, _ in expected])
    for found, (_, sequence) in zip(tokens.numpy()[0], expected, strict=False):
        length = sequence.shape[-1]
        assert found[:length].tolist() == sequence.numpy().tolist()
