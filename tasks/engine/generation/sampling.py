"""Sampling as PaddleNLP's `GenerationMixin.sample` does it, for a static graph.

PaddleNLP draws from a random state of the process; here the random numbers are an input of each
row, so that the tokens of a row do not depend on when and in which batch it is generated. (Batches
of other shapes differ in the last digits of the logits. That matters only if a random number is
almost equal to a sum of probabilities, or such a sum to topp.)

Letters in shapes: B rows, K sequences of a row, V tokens of the vocabulary, T = `max_dec_len`.
"""

from __future__ import annotations

from tasks.engine.generation.independent_search import IndependentSearch
from tasks.engine.generation.search import GraphInputs
from tasks.engine.paddle.runtime import Tensor, import_paddle

paddle = import_paddle()
functional = paddle.nn.functional


class Sampling(IndependentSearch):
    """`GenerationMixin.sample`: a random token among those that topk and topp keep."""

    def choose(self, logits: Tensor, length: Tensor, inputs: GraphInputs) -> tuple[Tensor, Tensor]:
        """Draw a token; its score is its log probability before temperature, topk and topp."""
        decode, likely = self.decode, functional.softmax(logits)
        kept = likely
        if decode.temperature != 1.0:
            kept = functional.softmax(logits / decode.temperature)
        if decode.topk > 0:
            kept = keep_topk(kept, decode.topk)
        if decode.topp < 1.0:
            kept = keep_topp(kept, decode.topp)
        chosen = draw(kept, paddle.gather(inputs.uniforms, length, axis=2))
        return chosen, paddle.log(paddle.take_along_axis(likely, chosen, axis=-1))


def keep_topk(probabilities: Tensor, topk: int) -> Tensor:
    """Set all but the `topk` highest probabilities [B, K, V] to 0 (`TopKProcess`).

    Probabilities equal to the lowest of these are kept too.
    """
    top, _tokens = paddle.topk(probabilities, min(topk, probabilities.shape[-1]), axis=-1)
    is_kept = probabilities >= top[:, :, -1:]
    return paddle.where(is_kept, probabilities, paddle.zeros_like(probabilities))


def keep_topp(probabilities: Tensor, topp: float) -> Tensor:
    """Keep the highest probabilities [B, K, V] until their sum exceeds `topp`; set the others to 0.

    As in `TopPProcess`, the probabilities that topk has kept are not normalized before.
    """
    order = paddle.argsort(probabilities, axis=-1, descending=True)
    ranked = paddle.take_along_axis(probabilities, order, axis=-1)
    before = paddle.cumsum(ranked, axis=-1)[:, :, :-1]
    kept = paddle.cast(before <= topp, "float32") * ranked[:, :, 1:]
    kept = paddle.concat([ranked[:, :, :1], kept], axis=-1)
    return paddle.put_along_axis(probabilities, order, kept, axis=-1)


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Choose the first tokens at which the cumulative probability exceeds a share of the total.

    Probabilities are accumulated in the order of the vocabulary, because in sorted order, two
    almost equally likely tokens would change places with the last digit of either.

    Args:
        probabilities: float32 [B, K, V], not negative; they need not sum to 1.
        uniforms: float32 [B, K, 1], the share, in [0, 1).

    Returns:
        int64 [B, K, 1]. Tokens of probability 0 are never drawn; a token is always returned,
        because the total exceeds any share of itself.
    """
    exact = paddle.cast(probabilities, "float64")  # of 18,000 float32 the last digits would be lost
    sums = paddle.where(exact > 0, paddle.cumsum(exact, axis=-1), paddle.zeros_like(exact))
    share = paddle.max(sums, axis=-1, keepdim=True) * paddle.cast(uniforms, "float64")
    tokens = paddle.arange(sums.shape[-1], dtype="int64")
    tokens = paddle.expand_as(tokens, sums)
    # Where probabilities are NaN, the last token is chosen.
    tokens = paddle.where(sums > share, tokens, paddle.full_like(tokens, sums.shape[-1] - 1))
    return paddle.min(tokens, axis=-1, keepdim=True)
