"""A model of base size on the device: PaddleNLP's dynamic graph beside each exported model."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tasks.bench.contenders.contender import Contender, module_command
from tasks.bench.options import SPECIAL_TOKENS, BenchOptions
from tasks.bench.words import make_words
from tasks.bench.workload import SEED, make_rows, row_lengths

ANSWER = 4
TEMPLATE = 9  # tokens that the template adds, special ones included


def write_base_passages(path: Path, rows: int, options: BenchOptions) -> None:
    """Write passages of random words of the model's vocabulary, `options.length` tokens a row."""
    draw = random.Random(SEED)  # noqa: S311 no secret
    words = make_words(options.vocab - len(SPECIAL_TOKENS))
    shortest = max(1, options.length - TEMPLATE - ANSWER)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            context, answer = (draw.choices(words, k=k) for k in (shortest, ANSWER))
            record = {"context": "".join(context), "answer": "".join(answer)}
            print(json.dumps(record, ensure_ascii=False), file=file)


def measure_speed(
    checkpoint: Path, exports: Mapping[str, Path], options: BenchOptions
) -> dict[str, Any]:
    """Measure in rounds, over the same rows: `generate`, then each exported model.

    Args:
        checkpoint: of the model.
        exports: folders of exported models, by name.
        options: rows, search, rounds and device.

    Returns:
        By name, and `generate`: `seconds_per_row`, the median of the rounds; of the exported models
        also `ratio_to_generate`, the median of the rounds' ratios (0.164 is what the example's page
        tells of FasterTransformer).

    Raises:
        WorkerError: one of them died.
    """
    rows = make_rows(row_lengths(options), options.vocab)
    common = {"options": options.as_dict(), "rows": rows}
    orders: dict[str, tuple[str, dict[str, Any]]] = {
        name: ("native", {"export": str(folder)}) for name, folder in exports.items()
    }
    orders["generate"] = ("example", {"checkpoint": str(checkpoint), "threads": None})
    with ExitStack() as stack:
        contenders = {
            name: stack.enter_context(
                Contender(name, module_command(module), {**common, **order}, {})
            )
            for name, (module, order) in orders.items()
        }
        for contender in contenders.values():
            contender.receive()
        rounds = [
            {name: one.ask()["seconds"] / len(rows) for name, one in contenders.items()}
            for _ in range(options.rounds)
        ]
    return {name: _summarise(name, rounds) for name in orders}


def _summarise(name: str, rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    figures = {"seconds_per_row": round(median(one[name] for one in rounds), 6)}
    if name != "generate":
        ratios = median(one[name] / one["generate"] for one in rounds)
        figures["ratio_to_generate"] = round(ratios, 5)
    return figures
