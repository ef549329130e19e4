"""Parts of Transformer layers, arranged for decoding, for any model family.

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
    """Combine the query, key and value layers of a `MultiHeadAttention` into one, [E, 3 E].

    `MultiHeadAttention` multiplies queries by 1/sqrt(D) at run time; here the weights include that
    factor.
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
        cache: keys and values, shared by all N queries of a row.
        mask: float32 [B, H, N, W].

    Returns:
        float32 [B, H, N, D].
    """
    scores = paddle.matmul(queries, cache.keys, transpose_y=True) + mask
    return paddle.matmul(functional.softmax(scores), cache.values)


def for_heads(mask: Tensor, num_heads: int) -> Tensor:
    """Expand a mask [B, N, W] to [B, H, N, W]."""
    return paddle.expand(paddle.unsqueeze(mask, 1), [-1, num_heads, -1, -1])


def write_slots(cache: Tensor, slots: Tensor, update: Tensor) -> None:
    """Write `update` [B, H, K, D] into the empty `slots` [B, H, K, 3] of `cache` [B, H, W, D].

    The slots are the same for all rows and heads.
    The cache is changed in place: a functional update of a loop variable would copy every cache
    twice per step. Slots are zero and written once, so adding to them is writing.
    """
    add_in_place(cache, slots, update)
