"""The contenders' side of the protocol in `tasks.bench.contenders.contender`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
Load = Callable[[Mapping[str, Any]], tuple[Answer, Callable[[], Answer]]]
"""Takes an order; returns facts about what was loaded, and the function to call at each `go`."""


def answer_lines(load: Load) -> None:
    """Load as the order says and answer each `go`, until standard input ends.

    An answer has `seconds`, `user_seconds`, `system_seconds`, `peak_rss_mb` and what the function
    that `load` returned adds.
    """
    # Libraries may print anything; standard output is reserved for answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        facts, run = load(json.loads(sys.stdin.readline()))
        _send(answers, facts)
        for _go in sys.stdin:
            started, before = time.perf_counter(), os.times()
            answer = run()
            seconds, after = time.perf_counter() - started, os.times()
            spent = {
                "seconds": seconds,
                "user_seconds": round(after.user - before.user, 2),
                "system_seconds": round(after.system - before.system, 2),
                "peak_rss_mb": memory_mb("VmHWM"),
            }
            _send(answers, {**spent, **answer})


def _send(answers: Any, answer: Answer) -> None:  # noqa: ANN401 a text file
    print(json.dumps(answer), file=answers, flush=True)


def memory_mb(name: str) -> float:
    """Return this process's `VmRSS`, or its peak `VmHWM`, in MB of 10⁶ bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return round(int(status.partition(f"{name}:")[2].split()[0]) * 1024 / 1e6, 1)
