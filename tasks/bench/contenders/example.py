"""PaddleNLP's example as a contender: what its `predict.py` does with a batch.

It pads on the left, builds a dense mask and calls `generate` of the dynamic graph. If its order has
`threads`, it runs with that many, like the native engine; otherwise as `predict.py` does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.bench.contenders.lines import Answer, answer_lines
from tasks.bench.options import SPECIAL_TOKENS, BenchOptions
from tasks.bench.workload import example_batches
from tasks.config.settings import DecodeSettings
from tasks.engine.paddle.runtime import Untyped, import_as_it_is, import_paddle

PAD, CLS, MASK = (SPECIAL_TOKENS.index(name) for name in ("[PAD]", "[CLS]", "[MASK]"))
HIDDEN = -1e4


def _load(order: Mapping[str, Any]) -> tuple[Answer, Any]:
    options, rows = BenchOptions(**order["options"]), order["rows"]
    if options.device != "cpu":
        import_paddle()  # with the CUDA libraries that it needs
    if order["threads"] is not None:
        import_paddle().base.core.set_num_threads(order["threads"])
    paddle, paddlenlp = import_as_it_is()
    paddle.set_device(options.device)
    model = paddlenlp.transformers.UNIMOLMHeadModel.from_pretrained(order["model"])
    model.eval()
    batches = [[rows[place] for place in batch] for batch in example_batches(len(rows))]

    def run() -> Answer:
        return {"tokens": [row for batch in batches for row in generate(model, batch, options)]}

    generate(model, [row[-8:] for row in rows[:2]], options)  # as warm-up
    return {
        "mkl_debug_cpu_type": os.environ.get("MKL_DEBUG_CPU_TYPE"),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "paddlepaddle": paddle.__version__,
    }, run


def generate(
    model: Untyped, rows: Sequence[Sequence[int]], options: BenchOptions
) -> list[list[int]]:
    """Return the token ids of each row's best question, generated as `predict.py` does."""
    decode = options.decode
    tokens, _scores = model.generate(
        **left_padded(rows),
        max_length=decode.max_dec_len,
        min_length=decode.min_dec_len,
        bos_token_id=CLS,
        eos_token_id=MASK,
        **_strategy(decode),
    )
    found: list[list[int]] = tokens.numpy().tolist()
    return found


def _strategy(decode: DecodeSettings) -> dict[str, Any]:
    if decode.is_greedy:
        return {"decode_strategy": "greedy_search"}
    names = ("num_beams", "length_penalty", "num_return_sequences", "diversity_rate")
    return {"decode_strategy": "beam_search", **{name: getattr(decode, name) for name in names}}


def left_padded(rows: Sequence[Sequence[int]]) -> dict[str, Untyped]:
    """Return the batch that the example's `batchify_fn` builds.

    `input_ids`, `token_type_ids` and `position_ids` are int64 [rows, width], `attention_mask` is
    float32 [rows, 1, width, width].
    """
    to_tensor = import_as_it_is()[0].to_tensor
    width = max(map(len, rows))
    ids = np.full((len(rows), width), PAD, np.int64)
    types, positions = np.zeros_like(ids), np.zeros_like(ids)
    mask = np.full((len(rows), 1, width, width), HIDDEN, np.float32)
    types[:, -1] = 1
    for index, row in enumerate(rows):
        start = width - len(row)
        ids[index, start:] = row
        positions[index, start:-1] = np.arange(len(row) - 1)
        mask[index, 0, start:, start:-1] = 0
        mask[index, 0, -1, -1] = 0
    names = ("input_ids", "token_type_ids", "position_ids", "attention_mask")
    arrays = (ids, types, positions, mask)
    return {name: to_tensor(array) for name, array in zip(names, arrays, strict=True)}


if __name__ == "__main__":
    answer_lines(_load)
