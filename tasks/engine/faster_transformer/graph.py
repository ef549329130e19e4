"""PaddleNLP's `FasterUNIMOText` between the inputs and the outputs that Wenti's contracts have.

Importing this module imports Paddle.
"""

from __future__ import annotations

from tasks.config.settings import DecodeSettings
from tasks.engine.contract import SpecialTokens
from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddle

paddle = import_paddle()
Layer: Untyped = paddle.nn.Layer

HIDDEN = -1e9
"""In an attention mask, as in the example's `batchify_fn`; whatever is not 0 is not seen."""


class FasterGraph(Layer):  # type: ignore[misc]
    """Rows padded on the right with their lengths in, one sequence for each row out.

    Letters in shapes: B rows, L length of the batch, T = `max_dec_len`.

    Args:
        faster: `FasterUNIMOText`, made with `trans_out`.
        decode: the search.
        special: the ids it treats specially.
        start: id of the token that decoding starts with, the last one of each row.
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
        """Return tokens, int32 [B, 1, T], for int32 [B, L], [B, L] and [B]."""
        columns = paddle.arange(input_ids.shape[1], dtype="int32").unsqueeze(0)
        padding = (input_ids.shape[1] - seq_len).unsqueeze(1)
        # The operator starts behind the last column, so the padding goes to the left.
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
        # Of beams, the first is the best that has ended, or of those that have not.
        return self._completed(found[:, 0] if found.ndim == 3 else found).unsqueeze(1)

    def _completed(self, found: Tensor) -> Tensor:
        """Return [B, T] with one eos token, where it fits, and padding behind it.

        The operator gives as many columns as its longest sequence has tokens, in some searches
        without the eos token that ended it: another batch, another end.
        """
        ends = paddle.full_like(found[:, :1], self.special.eos).tile([1, self.max_dec_len])
        tokens = paddle.concat([found, ends], 1)[:, : self.max_dec_len]
        is_end = paddle.cast(tokens == self.special.eos, "int32")
        is_behind = paddle.cumsum(is_end, 1) > is_end
        return paddle.where(is_behind, paddle.full_like(tokens, self.special.pad), tokens)
