"""PaddleNLP's `FasterUNIMOText`, adapted to the inputs and outputs of Wenti's contracts.

Importing this module imports Paddle.
"""

from __future__ import annotations

from tasks.config.settings import DecodeSettings
from tasks.engine.contract import SpecialTokens
from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddle

paddle = import_paddle()
Layer: Untyped = paddle.nn.Layer

HIDDEN = -1e9
"""Masks a position, as in the example's `batchify_fn`; the operator ignores all that is not 0."""


class FasterGraph(Layer):  # type: ignore[misc]
    """Takes rows padded on the right and their lengths; returns one sequence per row.

    Letters in shapes: B rows, L length of the batch, T = `max_dec_len`.

    Args:
        faster: `FasterUNIMOText`, created with `trans_out`.
        decode: the search.
        special: the ids that the search treats specially.
        start: id of the start token, the last token of each row.
    """

    def __init__(
        self, faster: Untyped, decode: DecodeSettings, special: SpecialTokens, start: int
    ) -> None:
        super().__init__()
        self.faster = faster
        self.special = special
        self.max_dec_len = decode.max_dec_len
        self.options = {
            "max_length": decode.max_dec_len,
            "min_length": decode.min_dec_len,
            "top_k": decode.topk,
            "top_p": decode.topp,
            "num_beams": decode.num_beams,
            "decode_strategy": decode.decoding_strategy,
            "bos_token_id": start,
            "eos_token_id": special.eos,
            "pad_token_id": special.pad,
            "diversity_rate": decode.diversity_rate,
            "temperature": decode.temperature,
            "num_return_sequences": 1,
            "length_penalty": decode.length_penalty,
            "early_stopping": decode.early_stopping,
        }

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, seq_len: Tensor) -> Tensor:
        """Return tokens, int32 [B, 1, T], for int32 inputs [B, L], [B, L] and [B]."""
        columns = paddle.arange(input_ids.shape[1], dtype="int32").unsqueeze(0)
        padding = (input_ids.shape[1] - seq_len).unsqueeze(1)
        # The operator continues after the last column, so the padding is moved to the left.
        places = (columns - padding) % input_ids.shape[1]
        is_token = columns >= padding
        sees = is_token.unsqueeze([1, 3]) & is_token.unsqueeze([1, 2])
        found, _scores = self.faster(
            paddle.take_along_axis(input_ids, places, 1),
            paddle.take_along_axis(token_type_ids, places, 1),
            paddle.cast(~sees, "float32") * HIDDEN,
            seq_len,
            **self.options,
        )
        # The first beam is the best one that has ended or, if none has, the best.
        return self._completed(found[:, 0] if found.ndim == 3 else found).unsqueeze(1)

    def _completed(self, found: Tensor) -> Tensor:
        """Return tokens [B, T] with one eos token, where it fits, followed by padding.

        The operator returns as many columns as its longest sequence has tokens, in some searches
        without the final eos token, so the width depends on the batch.
        """
        ends = paddle.full_like(found[:, :1], self.special.eos).tile([1, self.max_dec_len])
        tokens = paddle.concat([found, ends], 1)[:, : self.max_dec_len]
        is_end = paddle.cast(tokens == self.special.eos, "int32")
        is_behind = paddle.cumsum(is_end, 1) > is_end
        return paddle.where(is_behind, paddle.full_like(tokens, self.special.pad), tokens)
