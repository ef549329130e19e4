"""The Transformer layers of UNIMO, arranged for decoding.

The arithmetic is that of `paddle.nn.TransformerEncoderLayer` as PaddleNLP's `UNIMOModel` uses it.
Letters in shapes: B rows, N tokens, K beams, W key slots, H heads, D size of a head, E = H * D.

Importing this module imports Paddle.
"""

from __future__ import annotations

from typing import NamedTuple

from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddle

paddle = import_paddle()
nn, functional = paddle.nn, paddle.nn.functional


class KeyValue(NamedTuple):
    """Keys and values of one layer, each float32 [B, H, W, D]."""

    keys: Tensor
    values: Tensor


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


def dense(hidden: Tensor, linear: Untyped) -> Tensor:
    """Give hidden weight + bias, for float32 [B, N, E], as one operator.

    Paddle Inference's passes would make it of two, but they do not look into a loop. The operator
    could also do relu; on the CPU that takes several times as long as relu by itself.
    """
    helper = paddle.base.layer_helper.LayerHelper("dense")
    output = helper.create_variable_for_type_inference(hidden.dtype)
    helper.append_op(
        type="fc",
        inputs={"Input": [hidden], "W": [linear.weight], "Bias": [linear.bias]},
        outputs={"Out": [output]},
        attrs={"in_num_col_dims": 2, "activation_type": ""},
    )
    return output


def attend(queries: Tensor, cache: KeyValue, mask: Tensor) -> Tensor:
    """Give softmax(queries keys^T + mask) values.

    Args:
        queries: float32 [B, H, N, D], already scaled by 1/sqrt(D).
        cache: what to attend to, shared by all N queries of a row.
        mask: float32 [B, H, N, W].

    Returns:
        float32 [B, H, N, D].
    """
    scores = paddle.matmul(queries, cache.keys, transpose_y=True) + mask
    return paddle.matmul(functional.softmax(scores), cache.values)


def write_slots(cache: Tensor, slots: Tensor, update: Tensor) -> None:
    """Write `update` [B, H, K, D] into the empty `slots` [B, H, K, 3] of `cache` [B, H, W, D].

    The operator's output is its input: the cache is changed in place. A functional update as a
    loop variable would copy every cache twice a step. Slots are zero until they are written, and
    written once, so adding is writing.
    """
    paddle.base.layer_helper.LayerHelper("write_slots").append_op(
        type="scatter_nd_add",
        inputs={"X": [cache], "Index": [slots], "Updates": [update]},
        outputs={"Out": [cache]},
    )
