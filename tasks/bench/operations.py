"""A lower bound on the floating-point operations of generating questions."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.engine.models.config import ModelSize


def count_operations(lengths: Iterable[int], beams: int, steps: int, size: ModelSize) -> int:
    """Return the operations in matrix products that generating questions for these rows needs.

    Each multiplication with its addition counts as 2. With L tokens in a row (including the start
    token), K beams, T steps, N layers, hidden size E, feed-forward size F and V tokens in the
    vocabulary, the multiplications of a row are

    - first step, all layers but the last: (N-1) (L (4E² + 2EF) + 2E ((L-1)² + L)). The L-1 source
      tokens attend to each other, the start token attends to all L; each pair costs E for its score
      and E for its value;
    - last layer: 2LE² for all keys and values, and 2E² + 2EF + 2LE for the start token only;
    - logits: E² + EV for the start token, because all beams are equal at first;
    - each later step t = 1 … T-1: K (N (4E² + 2EF + 2E (L+t)) + E² + EV).

    This is a lower bound: `generate` does more, because it encodes a row once per beam, and padding
    adds to it.
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
