"""The random model that is measured: a checkpoint, and its export by the native engine.

Run by a process of its own, as a contender that is ready when they are written.
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
"""The bias of eos: no beam ends before its last step, so that all steps are done and counted."""


def make_checkpoint(folder: Path, options: BenchOptions, longest: int) -> None:
    """Write a UNIMO checkpoint with random weights, as `save_pretrained` does."""
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
    checkpoint, export = Path(order["checkpoint"]), Path(order["export"])
    if not checkpoint.exists():
        make_checkpoint(checkpoint, options, order["longest"])
    export.mkdir()
    export_native(checkpoint, options.decode, export)
    return {}, dict


if __name__ == "__main__":
    answer_lines(_load)
