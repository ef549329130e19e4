"""How many floating-point operations the matrix products of a generation need at least."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.engine.models.config import ModelSize


def count_operations(lengths: Iterable[int], beams: int, steps: int, size: ModelSize) -> int:
    """Count the operations of matrix products that generating for these rows needs.

    Each multiplication with its addition counts as 2. With L tokens in a row (start token
    included), K beams, T steps, N layers, hidden size E, feed-forward size F and V tokens in the
    vocabulary, a row needs

    - first step, without the last layer: (N-1) (L (4E² + 2EF) + 2E ((L-1)² + L)) multiplications.
      The L-1 source tokens see each other, the start token sees all L; each pair costs E for its
      score and E for its value;
    - last layer: 2LE² for all keys and values, and for the start token alone 2E² + 2EF + 2LE;
    - logits: E² + EV for the start token, for all beams are equal at first;
    - each later step t = 1 … T-1: K (N (4E² + 2EF + 2E (L+t)) + E² + EV).

    That is less than what `generate` does, which encodes a row once for each beam, and less than
    what padding makes of it: a floor, not a measurement.
    """
    return sum(2 * _multiplications(length, beams, steps, size) for length in lengths)


def _multiplications(length: int, beams: int, steps: int, size: ModelSize) -> int:
    hidden, layers = size.hidden, size.layers
    pairs = (length - 1) ** 2 + length
    encode = (layers - 1) * (length * size.layer_weights + 2 * hidden * pairs)
    start_token = size.layer_weights - 2 * hidden**2 + 2 * length * hidden
    last_layer = length * 2 * hidden**2 + start_token
    seen = sum(length + step for step in range(1, steps))
    a_step = layers * size.layer_weights + size.head_weights
    later = beams * ((steps - 1) * a_step + layers * 2 * hidden * seen)
    return encode + last_layer + size.head_weights + later
