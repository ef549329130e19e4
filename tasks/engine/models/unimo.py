"""UNIMO: its checkpoints, and its network for the decode graph.

The source tokens attend only to each other; the start token and all later tokens attend to the
source and to what has been generated. So the source and the generated tokens share one cache.

Importing this module imports Paddle. Letters in shapes as in `tasks.engine.models.family`.
"""

from __future__ import annotations

from tasks.engine.contract import SpecialTokens
from tasks.engine.model_files import ModelFiles
from tasks.engine.models.family import AddSlots, Encoded, KeyValue, Limits, ModelFamily
from tasks.engine.models.layers import attend, for_heads, fused_projection, write_slots
from tasks.engine.paddle.api import fully_connected
from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddle, import_paddlenlp
from tasks.engine.tokenization.tokenizer import load_paddlenlp_tokenizer
from tasks.engine.tokenization.vocabulary import VOCAB_FILE

paddle = import_paddle()
nn, functional = paddle.nn, paddle.nn.functional
Layer: Untyped = nn.Layer

MASKED = -1e4
"""Added to masked attention scores; the same as in `UNIMOTokenizer.gen_encode`."""

FORBIDDEN = -1e9
"""The logits that `adjust_logits_during_generation` gives unk, pad and bos."""


class Unimo(ModelFamily):
    """PaddleNLP's `UNIMOLMHeadModel` and its tokenizer."""

    tied_weights = frozenset({"lm_head.decoder_weight"})

    @property
    def model_class(self) -> Untyped:
        """PaddleNLP's `UNIMOLMHeadModel`."""
        return import_paddlenlp().transformers.UNIMOLMHeadModel

    @property
    def tokenizer_class(self) -> Untyped:
        """PaddleNLP's `UNIMOTokenizer`."""
        return import_paddlenlp().transformers.UNIMOTokenizer

    def load_tokenizer(self, files: ModelFiles) -> Untyped:
        """Return PaddleNLP's `UNIMOTokenizer` of a checkpoint."""
        return load_paddlenlp_tokenizer(files)

    def find_faults(self, model: Untyped, tokenizer: Untyped) -> list[str]:
        """Return the fault that PaddleNLP ignores: a vocabulary of another model."""
        size, words = model.config.vocab_size, len(tokenizer.vocab)
        if size >= words:  # more is fine: matrices are sometimes padded
            return []
        return [f"the model has {size} tokens but {VOCAB_FILE} has {words}"]

    def special_tokens(self, model: Untyped, tokenizer: Untyped) -> SpecialTokens:
        """Return the ids that `generate` uses when called as PaddleNLP's example calls it.

        The example passes the tokenizer's mask token for eos; the others come from the config.
        """
        config = model.config
        return SpecialTokens(
            unk=config.unk_token_id,
            pad=config.pad_token_id,
            bos=config.bos_token_id,
            eos=tokenizer.mask_token_id,
        )

    def limits(self, model: Untyped) -> Limits:
        """Return the sizes in the model's config."""
        config = model.config
        return Limits(config.vocab_size, config.type_vocab_size, config.max_position_embeddings)

    def make_network(self, model: Untyped, special: SpecialTokens) -> UnimoNetwork:
        """Arrange a loaded model's weights for decoding."""
        return UnimoNetwork(model, special)


class UnimoNetwork(Layer):  # type: ignore[misc]
    """`tasks.engine.models.family.Network` with the weights of a `UNIMOLMHeadModel`."""

    def __init__(self, model: Untyped, special: SpecialTokens) -> None:
        super().__init__()
        unimo, config = model.unimo, model.config
        self.num_heads = config.num_attention_heads
        self.embeddings = unimo.embeddings
        self.encoder_norm = unimo.encoder_norm
        self.layers = nn.LayerList(
            [UnimoLayer(layer, config.hidden_act) for layer in unimo.encoder.layers]
        )
        self.head_transform = model.lm_head.transform
        self.head_activation = getattr(functional, config.hidden_act)
        self.head_norm = model.lm_head.layer_norm
        self.head_bias = self.create_parameter([config.vocab_size], is_bias=True)
        self.head_bias.set_value(forbid(model.lm_head.decoder_bias, special))

    def encode(
        self, input_ids: Tensor, token_type_ids: Tensor, seq_len: Tensor, add_slots: AddSlots
    ) -> Encoded:
        """Implement `Network.encode`; source tokens do not attend to the start token.

        The last layer computes only the output of the start token.
        """
        places = paddle.arange(paddle.shape(input_ids)[1], dtype="int32")
        places = paddle.expand_as(places, input_ids)
        ends = paddle.unsqueeze(seq_len, 1)
        is_start, is_padding = places == ends - 1, places >= ends
        positions = paddle.where(is_start, paddle.zeros_like(places), places)
        hidden = self._embed(input_ids, positions, token_type_ids)
        # Adding tensors of equal shape is 2.7 times as fast as broadcasting in every layer.
        full_mask = for_heads(mask_between(is_start, is_padding), self.num_heads)
        mask = paddle.unsqueeze(paddle.cast(is_padding, "float32") * MASKED, 1)
        caches = []
        for layer in self.layers[:-1]:
            hidden, cache = layer.encode(hidden, full_mask)
            caches.append(add_slots(cache))
        last = paddle.cast(ends - 1, "int64")
        start = _take_token(hidden, last)
        start, cache = self.layers[-1].encode_last(hidden, start, for_heads(mask, self.num_heads))
        caches.append(add_slots(cache))
        token_types = paddle.take_along_axis(token_type_ids, last, axis=1)
        return Encoded(input_ids, start, caches, mask, (token_types,))

    def embed(self, tokens: Tensor, length: Tensor, context: tuple[Tensor, ...]) -> Tensor:
        """Return the first layer's input; positions count from the start token, which is at 0."""
        positions = paddle.cast(paddle.unsqueeze(length, 0), "int32")
        (token_types,) = context
        return self._embed(tokens, positions, token_types)

    def step(
        self,
        hidden: Tensor,
        caches: list[KeyValue],
        slots: Tensor,
        mask: Tensor,
        _context: tuple[Tensor, ...],
    ) -> Tensor:
        """Return the hidden states of the newest tokens, float32 [B, K, E]."""
        mask = for_heads(mask, self.num_heads)
        for layer, cache in zip(self.layers, caches, strict=True):
            hidden = layer.step(hidden, cache, slots, mask)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the next token's logits; those of unk, pad and bos are `FORBIDDEN`."""
        hidden = self.head_norm(self.head_activation(self.head_transform(hidden)))
        words = self.embeddings.word_embeddings.weight
        return paddle.matmul(hidden, words, transpose_y=True) + self.head_bias

    def _embed(self, ids: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """Return the input of the layers, float32 [B, N, E], for int32 ids (`UNIMOEmbeddings`)."""
        embeddings = self.embeddings
        hidden = embeddings.word_embeddings(ids) + embeddings.position_embeddings(positions)
        return self.encoder_norm(hidden + embeddings.token_type_embeddings(types))


def _take_token(hidden: Tensor, places: Tensor) -> Tensor:
    """Return the token at `places` int64 [B, 1] of each row of [B, N, E], as [B, 1, E]."""
    rows = paddle.unsqueeze(paddle.arange(paddle.shape(places)[0], dtype="int64"), 1)
    return paddle.gather_nd(hidden, paddle.unsqueeze(paddle.concat([rows, places], axis=1), 1))


def mask_between(is_start: Tensor, is_padding: Tensor) -> Tensor:
    """Return the attention mask between tokens, float32 [B, L, L], from two bool [B, L].

    No token attends to padding, and only the start token attends to itself.
    """
    hides_start = paddle.unsqueeze(is_start, 1) & ~paddle.unsqueeze(is_start, 2)
    return paddle.cast(hides_start | paddle.unsqueeze(is_padding, 1), "float32") * MASKED


def forbid(bias: Tensor, special: SpecialTokens) -> Tensor:
    """Return a bias [V] that forbids unk, pad and bos (`adjust_logits_during_generation`)."""
    bias = bias.numpy()
    bias[[special.unk, special.pad, special.bos]] = FORBIDDEN
    return paddle.to_tensor(bias)


class UnimoLayer(Layer):  # type: ignore[misc]
    """A layer that is equivalent to a `paddle.nn.TransformerEncoderLayer`, with its weights."""

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
        """Compute the layer for all tokens of the rows.

        Args:
            hidden: float32 [B, N, E].
            mask: float32 [B, H, N, N], 0 where a token may attend to another, else very negative.

        Returns:
            The layer's output [B, N, E], and its keys and values.
        """
        queries, keys, values = self._queries_keys_values(hidden)
        context = attend(queries, KeyValue(keys, values), mask)
        return self._after_attention(hidden, context), KeyValue(keys, values)

    def encode_last(self, hidden: Tensor, start: Tensor, mask: Tensor) -> tuple[Tensor, KeyValue]:
        """Compute the last layer, of which only the start token's output is needed.

        Args:
            hidden: float32 [B, N, E].
            start: float32 [B, 1, E], the start tokens in `hidden`.
            mask: float32 [B, H, 1, N], what the start token may attend to.

        Returns:
            The layer's output for the start token [B, 1, E], and the keys and values of all tokens.
        """
        normal, size = self._before_attention(hidden), self.hidden_size
        weight, bias = self.qkv_proj.weight, self.qkv_proj.bias
        projected = functional.linear(normal, weight[:, size:], bias[size:])
        cache = KeyValue(*(self._split_heads(part) for part in paddle.split(projected, 2, axis=-1)))
        normal = self._before_attention(start)
        queries = self._split_heads(functional.linear(normal, weight[:, :size], bias[:size]))
        return self._after_attention(start, attend(queries, cache, mask)), cache

    def step(self, hidden: Tensor, cache: KeyValue, slots: Tensor, mask: Tensor) -> Tensor:
        """Compute the layer for the newest token of each beam.

        Args:
            hidden: float32 [B, K, E].
            cache: keys and values of all slots; those of the new tokens are written into it.
            slots: int64 [B, H, K, 3], where they are written: row, head, slot.
            mask: float32 [B, H, K, W], 0 for what a beam may attend to, else very negative.

        Returns:
            The layer's output [B, K, E].
        """
        queries, keys, values = self._queries_keys_values(hidden)
        write_slots(cache.keys, slots, keys)
        write_slots(cache.values, slots, values)
        return self._after_attention(hidden, attend(queries, cache, mask))

    def _queries_keys_values(self, hidden: Tensor) -> list[Tensor]:
        """Project [B, N, E] to queries, keys and values, each [B, H, N, D]."""
        projected = fully_connected(self._before_attention(hidden), self.qkv_proj)
        return [self._split_heads(part) for part in paddle.split(projected, 3, axis=-1)]

    def _split_heads(self, hidden: Tensor) -> Tensor:
        """Reshape [B, N, E] to [B, H, N, D]."""
        heads = paddle.reshape(hidden, [0, 0, self.num_heads, self.head_dim])
        return paddle.transpose(heads, [0, 2, 1, 3])

    def _before_attention(self, hidden: Tensor) -> Tensor:
        return self.norm1(hidden) if self.normalize_before else hidden

    def _after_attention(self, hidden: Tensor, context: Tensor) -> Tensor:
        """Add the outputs of attention and feed-forward to `hidden`; `context` is [B, H, N, D]."""
        context = paddle.transpose(context, [0, 2, 1, 3])
        context = paddle.reshape(context, [0, 0, self.hidden_size])
        hidden = hidden + fully_connected(context, self.out_proj)
        if self.normalize_before:
            return hidden + self._feed_forward(self.norm2(hidden))
        hidden = self.norm1(hidden)
        return self.norm2(hidden + self._feed_forward(hidden))

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        activation = getattr(functional, self.activation)
        return fully_connected(activation(fully_connected(hidden, self.linear1)), self.linear2)
