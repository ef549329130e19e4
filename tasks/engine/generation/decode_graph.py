"""The whole generation as one layer: encode the source, then search token by token.

What makes it fast:

- Each row is encoded once, whatever the number of beams, and only keys and values are kept. The
  start token, which all beams share, is encoded with it, so the loop starts with one token chosen.
- The generated tokens of a row are a tree of steps x beams slots after its encoded tokens in the
  same cache. The mask of a beam selects its own ancestors: when beams change parents, rows of the
  mask are gathered, and no cache is reordered or copied.

Letters in shapes: B rows, L length of the batch, P places of a row in the caches, K beams,
T = `max_dec_len`, S = (T - 1) * K slots for generated tokens (the last ones need none), W = P + S,
H heads, E hidden size.

Importing this module imports Paddle.
"""

from __future__ import annotations

from tasks.config.settings import DecodeSettings
from tasks.engine.contract import SpecialTokens
from tasks.engine.generation.beam_search import BeamSearch
from tasks.engine.generation.greedy_search import GreedySearch
from tasks.engine.generation.hypotheses import gather_beams
from tasks.engine.generation.sampling import Sampling
from tasks.engine.generation.search import Choice, GraphInputs, Search
from tasks.engine.models.family import Encoded, KeyValue, Network
from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddle

paddle = import_paddle()
Layer: Untyped = paddle.nn.Layer

HIDDEN = -1e4
"""Added to the attention scores of slots that a beam must not attend to."""


class DecodeGraph(Layer):  # type: ignore[misc]
    """A model's network with a search around it."""

    def __init__(self, network: Network, decode: DecodeSettings, special: SpecialTokens) -> None:
        super().__init__()
        self.network = network
        self.search = make_search(decode, special)
        self.num_beams = self.search.num_beams
        self.max_dec_len = decode.max_dec_len
        # The last tokens need no slot, but Paddle does not support empty tensors.
        self.num_slots = self.num_beams * max(1, self.max_dec_len - 1)
        # Paddle's own names count the layers that this process has created: they would differ
        # between exports, and those of the loaded model could clash with the new ones.
        for name, parameter in self.network.named_parameters():
            parameter.name = name

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor,
        seq_len: Tensor,
        uniforms: Tensor | None = None,
    ) -> Untyped:
        """Generate the sequences of each row.

        Args:
            input_ids: int32 [B, L], padded on the right, each row's last token the start token.
            token_type_ids: int32 [B, L].
            seq_len: int32 [B], tokens of each row, start token included.
            uniforms: for sampling float32 [B, num_return_sequences, T], each in [0, 1).

        Returns:
            tokens int32 [B, num_return_sequences, T] and scores float32
            [B, num_return_sequences].
        """
        return self._generate(input_ids, token_type_ids, seq_len, uniforms)

    @paddle.jit.not_to_static  # type: ignore[untyped-decorator]
    def _generate(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor,
        seq_len: Tensor,
        uniforms: Tensor | None,
    ) -> Untyped:
        """Implement `forward`; `to_static` rewrites only that, so this runs as plain Python."""
        source = self.network.encode(input_ids, token_type_ids, seq_len, self._add_slots)
        first_slots = self._first_slots(source.cached_ids)
        inputs = GraphInputs(source.cached_ids, uniforms)
        first = self._first_step(source, inputs)
        mask = self._first_mask(source.mask)
        numbers = paddle.arange(paddle.shape(mask)[2], dtype="int64")
        numbers = numbers - paddle.cast(paddle.shape(source.cached_ids)[1], "int64")

        def goes_on(length: Tensor, _tokens: Tensor, _mask: Tensor, *state: Tensor) -> Tensor:
            is_waiting = paddle.any(~self.search.is_done(state))
            return paddle.logical_and(length < self.max_dec_len, is_waiting)

        def step(length: Tensor, tokens: Tensor, mask: Tensor, *state: Tensor) -> list[Tensor]:
            mask = self._show_own_slots(mask, length, numbers)
            hidden = self._decode(tokens, length, mask, source, first_slots)
            logits = self.network.logits(hidden)
            choice = self.search.step(logits, length, state, inputs)
            mask = gather_beams(mask, choice.parents)
            return [length + 1, choice.tokens, mask, *choice.state]

        length = paddle.ones([1], dtype="int64")
        variables = [length, first.tokens, mask, *first.state]
        final = paddle.static.nn.while_loop(goes_on, step, variables)
        return self.search.result(tuple(final[3:]))

    def _first_step(self, source: Encoded, inputs: GraphInputs) -> Choice:
        """Choose the tokens after the start token, which all beams share."""
        logits = paddle.expand(self.network.logits(source.start), [-1, self.num_beams, -1])
        state = self.search.start(paddle.shape(source.start)[0])
        return self.search.step(logits, paddle.zeros([1], dtype="int64"), state, inputs)

    def _add_slots(self, cache: KeyValue) -> KeyValue:
        """Append S empty slots to keys and values [B, H, P, D]; return [B, H, W, D]."""
        rows, head_dim = paddle.shape(cache.keys)[0], cache.keys.shape[3]
        empty = paddle.zeros([rows, self.network.num_heads, self.num_slots, head_dim])
        return KeyValue(*(paddle.concat([part, empty], axis=2) for part in cache))

    def _first_mask(self, source_mask: Tensor) -> Tensor:
        """Return each beam's mask before the loop, float32 [B, K, W]; only the row is visible."""
        hidden = paddle.full([paddle.shape(source_mask)[0], 1, self.num_slots], HIDDEN)
        mask = paddle.concat([source_mask, hidden], axis=2)
        return paddle.expand(mask, [-1, self.num_beams, -1])

    def _first_slots(self, cached_ids: Tensor) -> Tensor:
        """Return the slots of the first K tokens, int64 [B, H, K, 3] (row, head, slot)."""
        rows, places = paddle.shape(cached_ids)[0], paddle.shape(cached_ids)[1]
        axes = [
            paddle.arange(rows, dtype="int64"),
            paddle.arange(self.network.num_heads, dtype="int64"),
            paddle.arange(self.num_beams, dtype="int64") + paddle.cast(places, "int64"),
        ]
        return paddle.stack(paddle.meshgrid(*axes), axis=-1)

    def _show_own_slots(self, mask: Tensor, length: Tensor, numbers: Tensor) -> Tensor:
        """Unmask the slot of each beam's newest token.

        Args:
            mask: float32 [B, K, W].
            length: int64 [1], number of the step.
            numbers: int64 [W], number of each slot, negative for the row's own places.
        """
        beams = paddle.unsqueeze(paddle.arange(self.num_beams, dtype="int64"), 1)
        is_own = paddle.unsqueeze(numbers, 0) == beams + self._first_slot(length)
        return mask + paddle.cast(is_own, "float32") * -HIDDEN

    def _first_slot(self, length: Tensor) -> Tensor:
        """Return the number of the first slot of step `length`, int64 [1]."""
        return (length - 1) * self.num_beams

    def _decode(
        self, tokens: Tensor, length: Tensor, mask: Tensor, source: Encoded, first_slots: Tensor
    ) -> Tensor:
        """Return the hidden states [B, K, E] of the newest tokens, int32 [B, K]."""
        hidden = self.network.embed(tokens, length, source.context)
        first_slot = self._first_slot(length)
        slots = first_slots + paddle.stack([paddle.zeros_like(length)] * 2 + [first_slot], axis=-1)
        return self.network.step(hidden, source.caches, slots, mask, source.context)


def make_search(decode: DecodeSettings, special: SpecialTokens) -> Search:
    """Return the search that `decode` selects."""
    if decode.is_greedy:
        return GreedySearch(decode, special)
    if decode.is_sampling:
        return Sampling(decode, special)
    return BeamSearch(decode, special)
