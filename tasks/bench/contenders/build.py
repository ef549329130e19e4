"""Builds the random model that is measured, and its native export.

It runs in its own process as a contender whose first answer means that both are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.bench.contenders.lines import Answer, answer_lines
from tasks.bench.options import FFN_FACTOR, POSITIONS, SPECIAL_TOKENS, BenchOptions
from tasks.bench.words import make_words
from tasks.bench.workload import SEED
from tasks.engine.export.native import export_native
from tasks.engine.paddle.runtime import import_paddle, import_paddlenlp

NEVER = -1e3
"""The bias of eos: no beam ends before the last step, so that all steps are done and counted."""


def write_model(folder: Path, options: BenchOptions, longest: int) -> None:
    """Write a UNIMO model with random weights as `save_pretrained` does.

    Args:
        folder: to write.
        options: size of the model and number of steps.
        longest: tokens of the longest row, which need positions.
    """
    import_paddle().seed(SEED)
    transformers = import_paddlenlp().transformers
    pad, cls, _sep, mask, unk = range(len(SPECIAL_TOKENS))
    config = transformers.UNIMOConfig(
        vocab_size=options.vocab,
        hidden_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        intermediate_size=FFN_FACTOR * options.hidden,
        max_position_embeddings=max(POSITIONS, longest, options.steps),
        unk_token_id=unk,
        pad_token_id=pad,
        bos_token_id=cls,
        eos_token_id=mask,
        mask_token_id=mask,
    )
    model = transformers.UNIMOLMHeadModel(config)
    bias = model.lm_head.decoder_bias.numpy()
    bias[mask] = NEVER
    model.lm_head.decoder_bias.set_value(bias)
    model.save_pretrained(str(folder))
    _write_vocabulary(folder / "vocab.txt", options.vocab)


def _write_vocabulary(path: Path, size: int) -> None:
    words = [*SPECIAL_TOKENS, *make_words(size - len(SPECIAL_TOKENS))]
    lines = (f"{word}\t{index}\n" for index, word in enumerate(words))
    path.write_text("".join(lines), encoding="utf-8")


def _load(order: Mapping[str, Any]) -> tuple[Answer, Any]:
    options = BenchOptions(**order["options"])
    model, export = Path(order["model"]), Path(order["export"])
    if not model.exists():
        write_model(model, options, order["longest"])
    export.mkdir()
    export_native(model, options.decode, export)
    return {}, dict


if __name__ == "__main__":
    answer_lines(_load)
