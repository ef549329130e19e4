"""A contender's side of the line protocol; see `tasks.bench.contenders.contender`."""

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
"""From an order: what is to be known about the loaded contender, and what to do at each `go`."""


def answer_lines(load: Load) -> None:
    """Be a contender until standard input ends."""
    # Libraries print what they like; standard output is for answers only.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        facts, run = load(json.loads(sys.stdin.readline()))
        _tell(answers, facts)
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
            _tell(answers, {**spent, **answer})


def _tell(answers: Any, answer: Answer) -> None:  # noqa: ANN401 a text file
    print(json.dumps(answer), file=answers, flush=True)


def memory_mb(name: str) -> float:
    """Give a figure of this process's memory in MB of 10⁶ bytes: `VmRSS`, or its peak `VmHWM`."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return round(int(status.partition(f"{name}:")[2].split()[0]) * 1024 / 1e6, 1)
