"""Greedy search as PaddleNLP's `GenerationMixin` does it, for a static graph."""

from __future__ import annotations

from tasks.engine.generation.independent_search import IndependentSearch
from tasks.engine.generation.search import GraphInputs
from tasks.engine.paddle.runtime import Tensor, import_paddle

paddle = import_paddle()


class GreedySearch(IndependentSearch):
    """`GenerationMixin.greedy_search`: always the most probable token."""

    def choose(self, logits: Tensor, length: Tensor, inputs: GraphInputs) -> tuple[Tensor, Tensor]:
        """Return the most probable token; its score is its logit."""
        chosen = paddle.argmax(logits, axis=-1, keepdim=True)
        return chosen, paddle.take_along_axis(logits, chosen, axis=-1)
