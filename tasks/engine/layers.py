"""The Transformer layers of UNIMO, arranged for decoding.

The arithmetic is that of `paddle.nn.TransformerEncoderLayer` as PaddleNLP's `UNIMOModel` uses it.
Letters in shapes: B rows, N tokens, K beams, W key slots, H heads, D size of a head, E = H * D.

Imported only by functions that have imported Paddle through `tasks.engine.runtime`.
"""

from __future__ import annotations

from typing import NamedTuple

import paddle
from paddle import nn
from paddle.nn import functional

from tasks.engine.runtime import Tensor, Untyped


class KeyValue(NamedTuple):
    """Keys and values of one layer, each float32 [B, H, W, D]."""

    keys: Tensor
    values: Tensor


class UnimoLayer(nn.Layer):  # type: ignore[misc]
    """One layer; weights come from a `paddle.nn.TransformerEncoderLayer` of a loaded model."""

    def __init__(self, source: Untyped, activation: str) -> None:
        super().__init__()
        attention = source.self_attn
        self.num_heads = attention.num_heads
        self.head_dim = attention.head_dim
        self.hidden_size = self.num_heads * self.head_dim
        self.normalize_before = source.normalize_before
        self.activation = activation
        self.norm1, self.norm2 = source.norm1, source.norm2
        self.linear1, self.linear2 = source.linear1, source.linear2
        self.out_proj = attention.out_proj
        self.qkv_proj = fused_projection(attention)

    def encode(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, KeyValue]:
        """Let the source tokens attend to each other.

        Args:
            hidden: float32 [B, N, E].
            mask: float32 [B, H, N, N], 0 for a token and very negative for padding.

        Returns:
            The layer's output [B, N, E], and its keys and values.
        """
        queries, keys, values = self._queries_keys_values(hidden)
        context = attend(queries, KeyValue(keys, values), mask)
        return self._after_attention(hidden, context), KeyValue(keys, values)

    def encode_last(self, hidden: Tensor, start: Tensor, mask: Tensor) -> tuple[Tensor, KeyValue]:
        """Do what `encode` does as the last layer: only the start token's output is of use.

        Args:
            hidden: float32 [B, N, E].
            start: float32 [B, 1, E], the one of `hidden` whose output is wanted.
            mask: float32 [B, H, 1, N], what it may see.

        Returns:
            The layer's output for it [B, 1, E], and the keys and values of all.
        """
        normal, size = self._before_attention(hidden), self.hidden_size
        weight, bias = self.qkv_proj.weight, self.qkv_proj.bias
        projected = functional.linear(normal, weight[:, size:], bias[size:])
        cache = KeyValue(*(self._split_heads(part) for part in paddle.split(projected, 2, axis=-1)))
        normal = self._before_attention(start)
        queries = self._split_heads(functional.linear(normal, weight[:, :size], bias[:size]))
        return self._after_attention(start, attend(queries, cache, mask)), cache

    def step(self, hidden: Tensor, cache: KeyValue, slots: Tensor, mask: Tensor) -> Tensor:
        """Let the newest token of each beam attend to the source and to its ancestors.

        Args:
            hidden: float32 [B, K, E].
            cache: keys and values of all slots; the new ones are written into it.
            slots: int64 [B, H, K, 3], where in the cache they go: row, head, slot.
            mask: float32 [B, H, K, W], 0 for what a beam may see.

        Returns:
            The layer's output [B, K, E].
        """
        queries, keys, values = self._queries_keys_values(hidden)
        write_slots(cache.keys, slots, keys)
        write_slots(cache.values, slots, values)
        return self._after_attention(hidden, attend(queries, cache, mask))

    def _queries_keys_values(self, hidden: Tensor) -> list[Tensor]:
        """Project [B, N, E] to queries, keys and values, each [B, H, N, D]."""
        projected = dense(self._before_attention(hidden), self.qkv_proj)
        return [self._split_heads(part) for part in paddle.split(projected, 3, axis=-1)]

    def _split_heads(self, hidden: Tensor) -> Tensor:
        """Turn [B, N, E] into [B, H, N, D]."""
        heads = paddle.reshape(hidden, [0, 0, self.num_heads, self.head_dim])
        return paddle.transpose(heads, [0, 2, 1, 3])

    def _before_attention(self, hidden: Tensor) -> Tensor:
        return self.norm1(hidden) if self.normalize_before else hidden

    def _after_attention(self, hidden: Tensor, context: Tensor) -> Tensor:
        """Add attention and feed-forward to `hidden`; `context` is [B, H, N, D]."""
        context = paddle.transpose(context, [0, 2, 1, 3])
        context = paddle.reshape(context, [0, 0, self.hidden_size])
        hidden = hidden + dense(context, self.out_proj)
        if self.normalize_before:
            return hidden + self._feed_forward(self.norm2(hidden))
        hidden = self.norm1(hidden)
        return self.norm2(hidden + self._feed_forward(hidden))

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        activation = getattr(functional, self.activation)
        return dense(activation(dense(hidden, self.linear1)), self.linear2)


def fused_projection(attention: Untyped) -> nn.Linear:
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


def dense(hidden: Tensor, linear: nn.Linear) -> Tensor:
    """Give hidden weight + bias, for float32 [B, N, E], as one operator.

    Paddle Inference's passes would make it of two, but they do not look into a loop. The operator
    could also do relu; on the CPU that takes several times as long as relu by itself.
    """
    from paddle.base.layer_helper import LayerHelper

    helper = LayerHelper("dense")
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
    from paddle.base.layer_helper import LayerHelper

    LayerHelper("write_slots").append_op(
        type="scatter_nd_add",
        inputs={"X": [cache], "Index": [slots], "Updates": [update]},
        outputs={"Out": [cache]},
    )
