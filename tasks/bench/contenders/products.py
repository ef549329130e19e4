"""The machine's rate of matrix products as a contender: an upper bound for engines on Paddle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks.bench.contenders.lines import Answer, answer_lines
from tasks.engine.paddle.runtime import Untyped, import_paddle

TOKENS, HIDDEN, FFN = 4096, 768, 3072
"""A large batch through the first matrix of the base model's feed-forward layer."""

REPEATS = 5


def _load(order: Mapping[str, Any]) -> tuple[Answer, Any]:
    paddle, threads = import_paddle(), order["threads"]
    set_threads = paddle.base.core.set_num_threads
    pairs = [(paddle.randn([TOKENS, HIDDEN]), paddle.randn([HIDDEN, FFN])) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)

    def multiply(pair: Untyped) -> None:
        paddle.matmul(*pair)

    def run() -> Answer:
        set_threads(threads)
        together = _best_gflops(1, lambda: multiply(pairs[0]))
        set_threads(1)
        side_by_side = _best_gflops(threads, lambda: list(pool.map(multiply, pairs)))
        return {"gflops": max(together, side_by_side)}

    run()
    return {}, run


def _best_gflops(products: int, multiply: Callable[[], object]) -> float:
    """Return the 10⁹ operations per second of the fastest of `REPEATS` runs."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        multiply()
        best = min(best, time.perf_counter() - started)
    return products * 2 * TOKENS * HIDDEN * FFN / best / 1e9


if __name__ == "__main__":
    answer_lines(_load)
