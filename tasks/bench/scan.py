"""`wenti bench scan`: time and memory per row for different searches, lengths and batches."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from tasks.bench.contenders.contender import Contender, module_command
from tasks.bench.engine import build
from tasks.bench.machine import describe_machine
from tasks.bench.operations import count_operations
from tasks.bench.options import BenchOptions, check_options
from tasks.bench.workload import make_rows, row_lengths
from tasks.errors import UnusableError

logger = logging.getLogger("wenti")

BEAMS = (1, 4, 6, 10)
STEPS = (20, 64)
LENGTHS = (64, 128, 270, 512)
BATCHES = 4


def scan_engine(options: BenchOptions) -> dict[str, Any]:
    """Measure the native engine at each of `scan_points(options)`; return JSON types.

    Raises:
        UnusableError: an option is out of range, or the rows are not of one length.
        WorkerError: a process died.
    """
    points = list(scan_points(options))
    for point in points:
        check_options(point)
    longest = max(point.length for point in points)
    with tempfile.TemporaryDirectory(prefix="wenti-bench-") as folder:
        results = [_measure(Path(folder), point, longest) for point in points]
    return {"points": results, "settings": {**options.as_dict(), **describe_machine()}}


def scan_points(options: BenchOptions) -> Iterator[BenchOptions]:
    """Yield `options`, then variations of it: in beams, steps, length, and finally batches.

    Raises:
        UnusableError: the rows are not of one length.
    """
    if options.uneven:
        raise UnusableError("a scan compares rows of one length; leave out --uneven")
    yield options
    for name, values in (("beams", BEAMS), ("steps", STEPS), ("length", LENGTHS)):
        changes: list[dict[str, Any]] = [{name: value} for value in values]
        points = (replace(options, **change) for change in changes)
        yield from (point for point in points if point != options)
    half = max(1, options.batch_size // 2)
    yield replace(options, batch_size=half, rows=half)
    yield replace(options, rows=BATCHES * options.rows)


def _measure(folder: Path, options: BenchOptions, longest: int) -> dict[str, Any]:
    lengths = row_lengths(options)
    _model, export = build(folder, options, longest)
    rows = make_rows(lengths, options.vocab)
    order = {"options": options.as_dict(), "rows": rows, "export": str(export)}
    with Contender("native", module_command("native"), order, {}) as native:
        loaded = native.receive()["loaded_rss_mb"]
        answers = [native.ask() for _ in range(options.rounds)]
    seconds = median(answer["seconds"] for answer in answers)
    operations = count_operations(lengths, options.beams, options.steps, options.size)
    point = {name: getattr(options, name) for name in ("beams", "steps", "length", "rows")}
    logger.info("%s: %.1f s", point, seconds)
    return {
        **point,
        "batch_size": options.batch_size,
        "seconds_per_row": round(seconds / options.rows, 6),
        "gflop_per_row": round(operations / options.rows / 1e9, 4),
        "gflops": round(operations / seconds / 1e9, 2),
        "loaded_rss_mb": loaded,
        "peak_rss_mb": max(answer["peak_rss_mb"] for answer in answers),
    }
