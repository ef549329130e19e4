"""The whole generation as one layer: encode the source, then search token by token.

What makes it fast:

- Source tokens attend only to each other, so each row is encoded once, whatever the number of
  beams, and only keys and values are kept; the last layer's output is never computed.
- The generated tokens of a row are a tree of steps x beams slots behind its source tokens in the
  same cache. Each beam sees its own ancestors through its mask: when beams change parents, rows
  of the mask move, and no cache is reordered or copied.

Letters in shapes: B rows, L length of the batch, P = L - 1 source places, K beams, T =
`max_dec_len`, S = T * K slots for generated tokens, W = P + S, H heads, E hidden size.

Imported only by functions that have imported Paddle through `tasks.engine.runtime`.
"""

from __future__ import annotations

from typing import NamedTuple

import paddle
from paddle import nn
from paddle.nn import functional

from tasks.engine.beam_search import BeamSearch
from tasks.engine.contract import SpecialTokens
from tasks.engine.greedy_search import GreedySearch
from tasks.engine.hypotheses import gather_beams
from tasks.engine.layers import KeyValue, UnimoLayer
from tasks.engine.runtime import Tensor, Untyped
from tasks.engine.search import FORBIDDEN, Search
from tasks.settings import DecodeSettings

MASKED = -1e4
"""Added to the score of what must not be seen; the same as in `UNIMOTokenizer.gen_encode`."""


class Source(NamedTuple):
    """What the search needs to know of the encoded rows.

    Attributes:
        caches: keys and values of each layer, with empty slots behind those of the source.
        mask: float32 [B, 1, P], 0 for source tokens and `MASKED` for padding.
        token_types: int32 [B, 1], of the start token and all that follow.
        slots: int64 [B, H, K, 3], where in a cache the K start tokens go: row, head, slot.
    """

    caches: list[KeyValue]
    mask: Tensor
    token_types: Tensor
    slots: Tensor


class DecodeGraph(nn.Layer):  # type: ignore[misc]
    """UNIMO with its search, made of the weights of a loaded `UNIMOLMHeadModel`."""

    def __init__(self, model: Untyped, decode: DecodeSettings, special: SpecialTokens) -> None:
        super().__init__()
        unimo, config = model.unimo, model.config
        self.search = make_search(decode, special)
        self.num_beams = self.search.num_beams
        self.max_dec_len = decode.max_dec_len
        self.num_slots = self.num_beams * self.max_dec_len
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
        # Paddle's own names count the layers that this process has made so far: they would differ
        # from export to export, and those of `model` could clash with the new ones.
        for name, parameter in self.named_parameters():
            parameter.name = name

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, seq_len: Tensor) -> Untyped:
        """Generate.

        Args:
            input_ids: int32 [B, L], padded on the right, each row's last token the start token.
            token_type_ids: int32 [B, L].
            seq_len: int32 [B], tokens of each row, start token included.

        Returns:
            tokens int32 [B, num_return_sequences, T] and scores float32
            [B, num_return_sequences].
        """
        return self._generate(input_ids, token_type_ids, seq_len)

    @paddle.jit.not_to_static  # type: ignore[untyped-decorator]
    def _generate(self, input_ids: Tensor, token_type_ids: Tensor, seq_len: Tensor) -> Untyped:
        """Do `forward`'s work: its Python runs as it is, `to_static` rewrites only `forward`."""
        source = self._encode(input_ids, token_type_ids, seq_len)
        last = paddle.cast(paddle.unsqueeze(seq_len, 1) - 1, "int64")
        start = paddle.take_along_axis(input_ids, last, axis=1)
        beams = paddle.expand(start, [-1, self.num_beams])
        mask = self._first_mask(source.mask)
        length = paddle.zeros([1], dtype="int64")
        numbers = paddle.arange(paddle.shape(mask)[2], dtype="int64")
        numbers = numbers - paddle.cast(paddle.shape(source.mask)[2], "int64")
        state = self.search.start(paddle.shape(input_ids)[0])

        def goes_on(length: Tensor, _beams: Tensor, _mask: Tensor, *state: Tensor) -> Tensor:
            is_waiting = paddle.any(~self.search.is_done(state))
            return paddle.logical_and(length < self.max_dec_len, is_waiting)

        def step(length: Tensor, beams: Tensor, mask: Tensor, *state: Tensor) -> list[Tensor]:
            mask = self._show_own_slots(mask, length, numbers)
            logits = self._logits(beams, length, mask, source)
            choice = self.search.step(logits, length, state)
            mask = gather_beams(mask, choice.parents)
            return [length + 1, choice.tokens, mask, *choice.state]

        final = paddle.static.nn.while_loop(goes_on, step, [length, beams, mask, *state])
        return self.search.result(tuple(final[3:]))

    def _encode(self, input_ids: Tensor, token_type_ids: Tensor, seq_len: Tensor) -> Source:
        """Encode the source tokens: all but the start token."""
        source_ids, source_types = input_ids[:, :-1], token_type_ids[:, :-1]
        places = paddle.arange(paddle.shape(source_ids)[1], dtype="int32")
        is_padding = paddle.unsqueeze(places, 0) >= paddle.unsqueeze(seq_len - 1, 1)
        mask = paddle.unsqueeze(paddle.cast(is_padding, "float32") * MASKED, 1)
        hidden = self._embed(source_ids, paddle.unsqueeze(places, 0), source_types)
        caches = []
        # Adding tensors of equal shape is 2.7 times as fast as broadcasting in every layer.
        length = paddle.shape(source_ids)[1]
        full_mask = paddle.expand(paddle.unsqueeze(mask, 1), [-1, self.num_heads, length, -1])
        for layer in self.layers[:-1]:
            hidden, cache = layer.encode(hidden, full_mask)
            caches.append(self._with_slots(cache))
        caches.append(self._with_slots(self.layers[-1].keys_values(hidden)))
        last = paddle.cast(paddle.unsqueeze(seq_len, 1) - 1, "int64")
        token_types = paddle.take_along_axis(token_type_ids, last, axis=1)
        return Source(caches, mask, token_types, self._first_slots(source_ids))

    def _embed(self, ids: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """Give the layers' input, float32 [B, N, E], for int32 ids (`UNIMOEmbeddings`)."""
        embeddings = self.embeddings
        hidden = embeddings.word_embeddings(ids) + embeddings.position_embeddings(positions)
        return self.encoder_norm(hidden + embeddings.token_type_embeddings(types))

    def _with_slots(self, cache: KeyValue) -> KeyValue:
        """Put S empty slots behind keys and values [B, H, P, D]: gives [B, H, W, D]."""
        rows, head_dim = paddle.shape(cache.keys)[0], cache.keys.shape[3]
        empty = paddle.zeros([rows, self.num_heads, self.num_slots, head_dim])
        return KeyValue(*(paddle.concat([part, empty], axis=2) for part in cache))

    def _first_mask(self, source_mask: Tensor) -> Tensor:
        """Give each beam's mask before the first step, float32 [B, K, W]: the source is seen."""
        hidden = paddle.full([paddle.shape(source_mask)[0], 1, self.num_slots], MASKED)
        mask = paddle.concat([source_mask, hidden], axis=2)
        return paddle.expand(mask, [-1, self.num_beams, -1])

    def _first_slots(self, source_ids: Tensor) -> Tensor:
        """Give the slots of the K start tokens, int64 [B, H, K, 3] (row, head, slot)."""
        rows, places = paddle.shape(source_ids)[0], paddle.shape(source_ids)[1]
        axes = [
            paddle.arange(rows, dtype="int64"),
            paddle.arange(self.num_heads, dtype="int64"),
            paddle.arange(self.num_beams, dtype="int64") + paddle.cast(places, "int64"),
        ]
        return paddle.stack(paddle.meshgrid(*axes), axis=-1)

    def _show_own_slots(self, mask: Tensor, length: Tensor, numbers: Tensor) -> Tensor:
        """Let each beam see the slot of its newest token.

        Args:
            mask: float32 [B, K, W].
            length: int64 [1], number of the step.
            numbers: int64 [W], number of each slot, negative for source places.
        """
        beams = paddle.unsqueeze(paddle.arange(self.num_beams, dtype="int64"), 1)
        is_own = paddle.unsqueeze(numbers, 0) == beams + length * self.num_beams
        return mask + paddle.cast(is_own, "float32") * -MASKED

    def _logits(self, beams: Tensor, length: Tensor, mask: Tensor, source: Source) -> Tensor:
        """Give the logits of the next token, float32 [B, K, V], for the newest int32 [B, K]."""
        positions = paddle.cast(paddle.unsqueeze(length, 0), "int32")
        hidden = self._embed(beams, positions, source.token_types)
        offset = paddle.stack([paddle.zeros_like(length)] * 2 + [length * self.num_beams], axis=-1)
        mask = paddle.expand(paddle.unsqueeze(mask, 1), [-1, self.num_heads, -1, -1])
        for layer, cache in zip(self.layers, source.caches, strict=True):
            hidden = layer.step(hidden, cache, source.slots + offset, mask)
        hidden = self.head_norm(self.head_activation(self.head_transform(hidden)))
        words = self.embeddings.word_embeddings.weight
        return paddle.matmul(hidden, words, transpose_y=True) + self.head_bias


def forbid(bias: Tensor, special: SpecialTokens) -> Tensor:
    """Make unk, pad and bos impossible (`adjust_logits_during_generation`) in a bias [V]."""
    bias = bias.numpy()
    bias[[special.unk, special.pad, special.bos]] = FORBIDDEN
    return paddle.to_tensor(bias)


def make_search(decode: DecodeSettings, special: SpecialTokens) -> Search:
    """Choose the search that `decode` asks for."""
    if decode.is_greedy:
        return GreedySearch(decode, special)
    return BeamSearch(decode, special)
