"""PaddleNLP's logits processors, which are applied before a token is chosen.

The repetition penalty is from Keskar et al. 2019, "CTRL", section 4.1. Letters in shapes as in
`tasks.engine.generation.search`.
"""

from __future__ import annotations

from tasks.engine.generation.search import GraphInputs
from tasks.engine.paddle.runtime import Tensor, import_paddle

paddle = import_paddle()


def is_early_eos(vocabulary: int, eos: int, length: Tensor, min_dec_len: int) -> Tensor:
    """Return which tokens are eos while sequences are too short (`MinLengthLogitsProcessor`).

    Args:
        vocabulary: V, the number of tokens.
        eos: id of the eos token.
        length: int64 [1], the number of tokens that each sequence has so far.
        min_dec_len: the number of tokens that a sequence needs before eos.

    Returns:
        bool [V].
    """
    is_eos = paddle.arange(vocabulary, dtype="int64") == eos
    return is_eos & (length < min_dec_len)


def penalise_repetition(
    scores: Tensor, penalty: float, tokens: Tensor, inputs: GraphInputs
) -> Tensor:
    """Penalise the tokens of the row and those generated so far; return the new scores.

    Scores below 0 are multiplied by the penalty, others divided by it, once per token however often
    it occurs. As in PaddleNLP, padding counts as a token; it is forbidden anyway.

    Args:
        scores: float32 [B, K, V], logits or log probabilities.
        penalty: above 1 to avoid repetition, below 1 to encourage it; 1 changes nothing.
        tokens: int32 [B, K, T], the tokens of each beam so far, then padding.
        inputs: the rows.
    """
    if penalty == 1.0:
        return scores
    beams, vocabulary = scores.shape[1:]
    prompt = paddle.expand(paddle.unsqueeze(inputs.input_ids, 1), [-1, beams, -1])
    seen = paddle.flatten(paddle.concat([prompt, tokens], axis=2), 0, 1)
    flat = paddle.flatten(scores, 0, 1)
    found = paddle.index_sample(flat, seen)
    penalised = paddle.where(found < 0, found * penalty, found / penalty)
    first = paddle.arange(paddle.shape(flat)[0], dtype="int64") * vocabulary
    places = paddle.flatten(paddle.cast(seen, "int64") + paddle.unsqueeze(first, 1))
    changed = paddle.scatter(paddle.flatten(flat), places, paddle.flatten(penalised))
    return paddle.reshape(changed, [-1, beams, vocabulary])
