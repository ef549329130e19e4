"""Parts of Transformer layers, arranged for decoding; for any family of models.

Letters in shapes: B rows, N tokens, K beams, W key slots, H heads, D size of a head, E = H * D.

Importing this module imports Paddle.
"""

from __future__ import annotations

from tasks.engine.models.family import KeyValue
from tasks.engine.paddle.api import add_in_place
from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddle

paddle = import_paddle()
nn, functional = paddle.nn, paddle.nn.functional


def fused_projection(attention: Untyped) -> Untyped:
    """Make one linear layer [E, 3 E] of a `MultiHeadAttention`'s three.

    `MultiHeadAttention` multiplies its queries by 1/sqrt(D) at run time; here that factor is part
    of their weights.
    """
    scale = attention.head_dim**-0.5
    parts = [attention.q_proj, attention.k_proj, attention.v_proj]
    factors = [scale, 1.0, 1.0]
    pairs = list(zip(parts, factors, strict=True))
    fused = nn.Linear(attention.embed_dim, 3 * attention.embed_dim)
    fused.weight.set_value(paddle.concat([part.weight * factor for part, factor in pairs], axis=1))
    fused.bias.set_value(paddle.concat([part.bias * factor for part, factor in pairs]))
    return fused


def attend(queries: Tensor, cache: KeyValue, mask: Tensor) -> Tensor:
    """Return softmax(queries keys^T + mask) values.

    Args:
        queries: float32 [B, H, N, D], already scaled by 1/sqrt(D).
        cache: what to attend to, shared by all N queries of a row.
        mask: float32 [B, H, N, W].

    Returns:
        float32 [B, H, N, D].
    """
    scores = paddle.matmul(queries, cache.keys, transpose_y=True) + mask
    return paddle.matmul(functional.softmax(scores), cache.values)


def for_heads(mask: Tensor, num_heads: int) -> Tensor:
    """Turn a mask [B, N, W] into [B, H, N, W]."""
    return paddle.expand(paddle.unsqueeze(mask, 1), [-1, num_heads, -1, -1])


def write_slots(cache: Tensor, slots: Tensor, update: Tensor) -> None:
    """Write `update` [B, H, K, D] into the empty `slots` [B, H, K, 3] of `cache` [B, H, W, D].

    The cache is changed in place: a functional update as a loop variable would copy every cache
    twice a step. Slots are zero until they are written, and written once, so adding is writing.
    """
    add_in_place(cache, slots, update)
