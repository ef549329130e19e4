"""The transformer layer of UNIMO, for the decode graph."""

from __future__ import annotations

from tasks.engine.models.layers import KeyValue, attend, dense, fused_projection, write_slots
from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddle

paddle = import_paddle()
functional = paddle.nn.functional
Layer: Untyped = paddle.nn.Layer


class UnimoLayer(Layer):  # type: ignore[misc]
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
