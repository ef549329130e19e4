"""How large a UNIMO model is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelSize:
    """The numbers of a UNIMO model's config that decide its size."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int

    @property
    def parameters(self) -> int:
        """How many numbers its weights are."""
        size, wide = self.hidden, self.intermediate
        layer = self.layer_weights + 9 * size + wide
        embeddings = (self.vocabulary + self.positions + self.types) * size + 2 * size
        head = size * size + 3 * size + self.vocabulary
        return self.layers * layer + embeddings + head

    @property
    def layer_weights(self) -> int:
        """Weights of a layer that each token is multiplied by: Q, K, V, output and feed-forward."""
        return 4 * self.hidden**2 + 2 * self.hidden * self.intermediate

    @property
    def head_weights(self) -> int:
        """Weights that make logits of a token: the head's transform and the vocabulary."""
        return self.hidden**2 + self.hidden * self.vocabulary

    def __str__(self) -> str:
        """Return the size in words."""
        millions = self.parameters / 1e6
        return f"{self.layers} layers of {self.hidden}, {millions:.1f} M weights"
