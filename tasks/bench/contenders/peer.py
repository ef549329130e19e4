"""A peer as a contender: a random GPT-2 of the same size in transformers or CTranslate2.

It runs in another environment, so it imports nothing of Wenti and implements the protocol of
`tasks.bench.contenders.contender` itself. The order's `kind` selects what it does: `build` writes
the model for both, `transformers` and `ctranslate2` load and run it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

Order = Mapping[str, Any]
Run = Callable[[], None]

POSITIONS = 1024
SPECIAL = "<|endoftext|>"


def main() -> None:
    """Load as the order says and answer each `go`, until standard input ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        order = json.loads(sys.stdin.readline())
        kinds = {"build": build, "transformers": load_transformers, "ctranslate2": load_ctranslate2}
        run = kinds[order["kind"]](order)
        names = ("torch", "transformers", "ctranslate2")
        print(json.dumps({name: version(name) for name in names}), file=answers, flush=True)
        for _go in sys.stdin:
            started = time.perf_counter()
            run()
            answer = {"seconds": time.perf_counter() - started}
            print(json.dumps(answer), file=answers, flush=True)


def build(order: Order) -> Run:
    """Write a random GPT-2 with a made-up vocabulary, and convert it for CTranslate2."""
    torch, transformers = import_module("torch"), import_module("transformers")
    converters = import_module("ctranslate2.converters")
    torch.manual_seed(0)
    folder = Path(order["folder"])
    config = transformers.GPT2Config(
        vocab_size=order["vocab"],
        n_positions=POSITIONS,
        n_embd=order["hidden"],
        n_layer=order["layers"],
        n_head=order["heads"],
        bos_token_id=0,
        eos_token_id=0,
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    _write_tokenizer(folder, order["vocab"])
    converters.TransformersConverter(str(folder)).convert(str(folder / "ctranslate2"))
    return _nothing


def _nothing() -> None:
    return


def _word(number: int) -> str:
    return f"w{number}" if number else SPECIAL


def _write_tokenizer(folder: Path, size: int) -> None:
    words = {_word(number): number for number in range(size)}
    (folder / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    names = {f"{kind}_token": SPECIAL for kind in ("bos", "eos", "unk")}
    text = json.dumps({"tokenizer_class": "GPT2Tokenizer", **names})
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def load_transformers(order: Order) -> Run:
    """Load the model into PyTorch; no beam ends before the last step."""
    torch, transformers = import_module("torch"), import_module("transformers")
    torch.set_num_threads(order["threads"])
    model = transformers.GPT2LMHeadModel.from_pretrained(order["folder"], dtype=torch.float32)
    model.eval()
    options = {
        "num_beams": order["beams"],
        "do_sample": False,
        "max_new_tokens": order["steps"],
        "min_new_tokens": order["steps"],
        "length_penalty": order["length_penalty"],
        "pad_token_id": 0,
    }

    def answer(rows: list[list[int]]) -> None:
        ids = torch.tensor(rows)
        with torch.inference_mode():
            found = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        if found.shape[1] != ids.shape[1] + order["steps"]:
            raise ValueError(f"transformers returned tokens of shape {found.shape}")

    return _in_batches(order, answer)


def load_ctranslate2(order: Order) -> Run:
    """Load the converted model into CTranslate2; no beam ends before the last step."""
    ctranslate2 = import_module("ctranslate2")
    generator = ctranslate2.Generator(
        str(Path(order["folder"]) / "ctranslate2"),
        device="cpu",
        compute_type=order["compute_type"],
        inter_threads=1,
        intra_threads=order["threads"],
    )
    options = {
        "beam_size": order["beams"],
        "max_length": order["steps"],
        "min_length": order["steps"],
        "length_penalty": order["length_penalty"],
        "include_prompt_in_result": False,
    }

    def answer(rows: list[list[int]]) -> None:
        words = [[_word(token) for token in row] for row in rows]
        found = generator.generate_batch(words, max_batch_size=len(rows), **options)
        if any(len(result.sequences_ids[0]) != order["steps"] for result in found):
            raise ValueError("CTranslate2 ended some sequences early")

    return _in_batches(order, answer)


def _in_batches(order: Order, answer: Callable[[list[list[int]]], None]) -> Run:
    """Warm up with two short rows; return a function that answers all rows in batches."""
    rows, size = order["rows"], order["batch_size"]
    answer([row[-4:] for row in rows[:2]])

    def run() -> None:
        for start in range(0, len(rows), size):
            answer(rows[start : start + size])

    return run


if __name__ == "__main__":
    main()
