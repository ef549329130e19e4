"""The speed of a model of base size: PaddleNLP's dynamic graph and each exported model."""

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

ANSWER = 4  # tokens of an answer
TEMPLATE = 9  # tokens that the template adds, including special tokens


def write_base_passages(path: Path, rows: int, options: BenchOptions) -> None:
    """Write JSON lines of random passages that become `options.length` tokens each.

    The words are those of the random model's vocabulary.
    """
    draw = random.Random(SEED)  # noqa: S311 no secret
    words = make_words(options.vocab - len(SPECIAL_TOKENS))
    shortest = max(1, options.length - TEMPLATE - ANSWER)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            context, answer = (draw.choices(words, k=k) for k in (shortest, ANSWER))
            record = {"context": "".join(context), "answer": "".join(answer)}
            print(json.dumps(record, ensure_ascii=False), file=file)


def measure_speed(
    model: Path, exports: Mapping[str, Path], options: BenchOptions
) -> dict[str, Any]:
    """Measure `generate` and each exported model in rounds, on the same rows.

    Args:
        model: folder of the model, for `generate`.
        exports: folders of exported models, by name.
        options: rows, search, rounds and device.

    Returns:
        For each export and for `generate`: `seconds_per_row`, the median of the rounds; for exports
        also `ratio_to_generate`, the median of the rounds' ratios, which for FasterTransformer is
        0.164 on the example's page.

    Raises:
        WorkerError: one of the processes died.
    """
    rows = make_rows(row_lengths(options), options.vocab)
    common = {"options": options.as_dict(), "rows": rows}
    orders: dict[str, tuple[str, dict[str, Any]]] = {
        name: ("native", {"export": str(folder)}) for name, folder in exports.items()
    }
    orders["generate"] = ("example", {"model": str(model), "threads": None})
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
            {name: each.ask()["seconds"] / len(rows) for name, each in contenders.items()}
            for _ in range(options.rounds)
        ]
    return {name: _summarize(name, rounds) for name in orders}


def _summarize(name: str, rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    figures = {"seconds_per_row": round(median(seconds[name] for seconds in rounds), 6)}
    if name != "generate":
        ratio = median(seconds[name] / seconds["generate"] for seconds in rounds)
        figures["ratio_to_generate"] = round(ratio, 5)
    return figures
