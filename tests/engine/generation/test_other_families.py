"""The decode graph with a different kind of network, as further model families need it.

Its rows take one place in the caches, whatever their length, as in an encoder-decoder model.
The next token depends on the mean of all tokens so far, start token included: so the test fails
if a beam attends to tokens of another beam, or not to all of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import Generated, Row, pad_rows
from tasks.engine.contract import Contract, SpecialTokens, input_specs, output_specs
from tasks.engine.export.saving import save_graph
from tasks.engine.inference.session import Session
from tasks.engine.models.family import AddSlots, Encoded, KeyValue
from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddle

SPECIAL = SpecialTokens(unk=3, pad=0, bos=1, eos=2)
VOCABULARY, START, STEPS = 12, 4, 6
TABLE: NDArray[np.float32] = (
    np.random.default_rng(8).normal(scale=3, size=(VOCABULARY, VOCABULARY)).astype(np.float32)
)
TABLE[:, [SPECIAL.unk, SPECIAL.pad, SPECIAL.bos]] = -1e9


def make_network() -> Untyped:
    paddle = import_paddle()
    from tasks.engine.models.layers import attend, for_heads, write_slots

    class MeanOfTokens(paddle.nn.Layer):  # type: ignore[misc, name-defined]
        num_heads = 1

        def __init__(self) -> None:
            super().__init__()
            self.table = self.create_parameter([VOCABULARY, VOCABULARY])
            self.table.set_value(TABLE)

        def encode(self, ids: Tensor, types: Tensor, lengths: Tensor, add: AddSlots) -> Encoded:
            last = paddle.cast(paddle.unsqueeze(lengths - 1, 1), "int64")
            start = paddle.take_along_axis(ids, last, axis=1) + 0 * types[:, :1]
            hidden = self.one_hot(start)
            values = paddle.unsqueeze(hidden, 1)
            mask = paddle.zeros_like(paddle.unsqueeze(paddle.cast(start, "float32"), 1))
            cache = add(KeyValue(paddle.zeros_like(values), values))
            return Encoded(start, hidden, [cache], mask, ())

        def embed(self, tokens: Tensor, _length: Tensor, _context: tuple[Tensor, ...]) -> Tensor:
            return self.one_hot(tokens)

        def step(
            self,
            hidden: Tensor,
            caches: list[KeyValue],
            slots: Tensor,
            mask: Tensor,
            _context: tuple[Tensor, ...],
        ) -> Tensor:
            values = paddle.unsqueeze(hidden, 1)
            write_slots(caches[0].values, slots, values)
            mean = attend(paddle.zeros_like(values), caches[0], for_heads(mask, 1))
            return paddle.squeeze(mean, 1)

        def logits(self, hidden: Tensor) -> Tensor:
            return paddle.matmul(hidden, self.table)

        def one_hot(self, tokens: Tensor) -> Tensor:
            return paddle.nn.functional.one_hot(paddle.cast(tokens, "int64"), VOCABULARY)

    return MeanOfTokens()


def answer(decode: DecodeSettings, folder: Path) -> Generated:
    from tasks.engine.generation.decode_graph import DecodeGraph

    contract = Contract(
        engine="native",
        engine_version=0,
        paddle_version=import_paddle().__version__,
        inputs=input_specs(decode),
        outputs=output_specs(decode),
        decode=decode,
        special_tokens=SPECIAL,
        vocab_size=VOCABULARY,
        type_vocab_size=2,
        max_positions=20,
        num_sequences=decode.num_return_sequences,
    )
    save_graph(
        lambda: DecodeGraph(make_network(), decode, SPECIAL),
        contract.inputs,
        folder / contract.model_file,
    )
    rows = [Row([*[5] * length, start], [0] * (length + 1)) for length, start in ((1, 4), (9, 7))]
    session = Session(folder, contract, PredictSettings(device="cpu", cpu_threads=1), "cpu")
    return session.run(pad_rows(rows, SPECIAL.pad))


def log_probabilities(tokens: Sequence[int]) -> NDArray[np.float64]:
    mean = np.eye(VOCABULARY)[list(tokens)].mean(axis=0)
    logits = mean @ TABLE.astype(np.float64)
    probabilities = np.exp(logits - logits.max())
    found: NDArray[np.float64] = np.log(probabilities / probabilities.sum() + 1e-300)
    return found


def written(tokens: NDArray[np.int32]) -> list[int]:
    """Return a sequence up to and including eos."""
    found = tokens.tolist()
    return found[: found.index(SPECIAL.eos) + 1] if SPECIAL.eos in found else found


def test_each_beam_sees_its_own_tokens_and_no_others(tmp_path: Path) -> None:
    decode = DecodeSettings(
        num_beams=4, num_return_sequences=4, max_dec_len=STEPS, min_dec_len=0, length_penalty=0.7
    )
    found = answer(decode, tmp_path)
    for start, sequences, scores in zip((4, 7), found.tokens, found.scores, strict=True):
        assert len({tuple(one) for one in sequences.tolist()}) == 4
        for sequence, score in zip(sequences, scores, strict=True):
            tokens = [start, *written(sequence)]
            total = math.fsum(
                log_probabilities(tokens[:place])[tokens[place]] for place in range(1, len(tokens))
            )
            length = len([token for token in tokens[1:] if token != SPECIAL.eos])
            assert score == pytest.approx(total / ((length + 5) / 6) ** 0.7, abs=1e-4)
