"""`wenti bench engine`: the native engine beside the example's way and the machine's own rate."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tasks.bench.contenders.contender import Contender, module_command
from tasks.bench.machine import describe_machine, processor_ticks
from tasks.bench.operations import count_operations
from tasks.bench.options import SPECIAL_TOKENS, BenchOptions, check_options
from tasks.bench.workload import (
    Batches,
    example_batches,
    make_rows,
    native_batches,
    padding_share,
    row_lengths,
)
from tasks.errors import BadOutputError

PAD = SPECIAL_TOKENS.index("[PAD]")

SPENT = ("seconds", "user_seconds", "system_seconds", "gflops")
"""What is told of each answer: more system time than a little, or much less processor time than by
the clock, is a sign of a disturbed round."""

logger = logging.getLogger("wenti")

Answers = Mapping[str, Mapping[str, Any]]
"""What each contender answered in a round, or what it told about itself, by name."""


@dataclass(frozen=True)
class Measured:
    """What the contenders told, once loaded and in each round; what a hypervisor took of the time.

    A share above 0.02 or so means that the machine had other guests: figures are too high.
    """

    facts: Answers
    rounds: Sequence[Answers]
    stolen_share: float = 0.0

    def of(self, name: str, key: str = "seconds") -> list[float]:
        """Give what a contender told in each round; nothing if it was not measured."""
        return [answers[name][key] for answers in self.rounds if name in answers]


def bench_engine(options: BenchOptions) -> dict[str, Any]:
    """Build the model, measure in rounds, and give the figures.

    Raises:
        UnusableError: the options cannot be measured.
        WorkerError: a contender died.
        BadOutputError: a contender did not do all the steps that are counted.
    """
    check_options(options)
    lengths = row_lengths(options)
    rows = make_rows(lengths, options.vocab)
    with tempfile.TemporaryDirectory(prefix="wenti-bench-") as folder:
        checkpoint, export = build(Path(folder), options, max(lengths))
        with open_contenders(checkpoint, export, options, rows) as contenders:
            measured = measure(contenders, options)
    check_steps(measured, options.steps)
    return summarise(options, lengths, measured)


def build(folder: Path, options: BenchOptions, longest: int) -> tuple[Path, Path]:
    """Give the folders of the random model and of its export, made in `folder` unless there."""
    checkpoint = folder / "checkpoint"
    export = folder / f"export-{options.beams}-{options.steps}"
    if export.exists():
        return checkpoint, export
    logger.info("exporting for %d beams and %d steps …", options.beams, options.steps)
    order = {
        "options": options.as_dict(),
        "checkpoint": str(checkpoint),
        "export": str(export),
        "longest": longest,
    }
    with Contender("build", module_command("build"), order, {}) as builder:
        builder.receive()
    return checkpoint, export


@contextmanager
def open_contenders(
    checkpoint: Path, export: Path, options: BenchOptions, rows: Sequence[Sequence[int]]
) -> Iterator[dict[str, Contender]]:
    """Start those that are wanted, side by side: loading is not measured."""
    few, threads = rows[: options.generate_rows], options.threads
    common = {"options": options.as_dict(), "checkpoint": str(checkpoint)}
    orders: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
        "example": ("example", {**common, "rows": few, "threads": None}, {}),
        "tuned": ("example", {**common, "rows": few, "threads": threads}, _threads(threads)),
        "native": ("native", {**common, "rows": rows, "export": str(export)}, {}),
        "products": ("products", {"threads": threads}, _threads(threads)),
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Contender(name, module_command(module), order, variables))
            for name, (module, order, variables) in orders.items()
            if name in options.only
        }


def _threads(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads)}


def measure(contenders: Mapping[str, Contender], options: BenchOptions) -> Measured:
    """Let each contender answer once in each round, one after the other."""
    facts = {name: one.receive() for name, one in contenders.items()}
    rounds = []
    ticks, stolen = processor_ticks()
    for number in range(options.rounds):
        answers = {name: one.ask() for name, one in contenders.items()}
        took = ", ".join(f"{name} {answer['seconds']:.1f} s" for name, answer in answers.items())
        logger.info("round %d of %d: %s", number + 1, options.rounds, took)
        rounds.append(answers)
    all_ticks, all_stolen = processor_ticks()
    share = (all_stolen - stolen) / max(1, all_ticks - ticks)
    return Measured(facts, rounds, share)


def check_steps(measured: Measured, steps: int) -> None:
    """Refuse figures if questions ended early: the operations would be counted wrongly.

    Raises:
        BadOutputError: a question has another number of tokens than steps.
    """
    for answers in measured.rounds:
        for name, answer in answers.items():
            written = {sum(one != PAD for one in row) for row in answer.get("tokens", [])}
            if written - {steps}:
                raise BadOutputError(
                    f"{name} wrote {sorted(written)} tokens a row instead of {steps}; the figures "
                    "would mean nothing, choose another --steps or --vocab"
                )


def summarise(options: BenchOptions, lengths: Sequence[int], measured: Measured) -> dict[str, Any]:
    """Turn what was measured into the figures; null is what was not."""
    seconds = float(median(measured.of("native")))
    rates = measured.of("products", "gflops")
    operations = count_operations(lengths, options.beams, options.steps, options.size)
    floor = operations / max(rates) / 1e9 if rates else None
    return {
        "ratio_to_generate": _ratio(measured, "example", options),
        "ratio_to_generate_tuned": _ratio(measured, "tuned", options),
        "floor_share": None if floor is None else round(floor / seconds, 4),
        "gemm_gflops": round(max(rates), 1) if rates else None,
        "gflop_per_row": round(operations / options.rows / 1e9, 4),
        "seconds_per_row": _per_row(measured.of("native"), options.rows),
        "generate_seconds_per_row": _per_row(measured.of("example"), options.generate_rows),
        "generate_tuned_seconds_per_row": _per_row(measured.of("tuned"), options.generate_rows),
        "rows_per_second": round(options.rows / seconds, 4),
        "tokens_per_second": round(sum(lengths) / seconds, 1),
        "stolen_share": round(measured.stolen_share, 4),
        "same_questions": _same_questions(measured),
        **_padding(options, lengths),
        **_memory(measured),
        "rounds": [
            {name: {key: answer.get(key) for key in SPENT} for name, answer in answers.items()}
            for answers in measured.rounds
        ],
        "settings": {**options.as_dict(), "contenders": measured.facts, **describe_machine()},
    }


def _ratio(measured: Measured, name: str, options: BenchOptions) -> float | None:
    """Give our seconds a row by those of `generate`: the median of the rounds' ratios."""
    share = options.generate_rows / options.rows
    pairs = zip(measured.of("native"), measured.of(name), strict=False)
    ratios: list[float] = [share * ours / theirs for ours, theirs in pairs]
    return round(median(ratios), 5) if ratios else None


def _per_row(seconds: Sequence[float], rows: int) -> float | None:
    return round(median(seconds) / rows, 6) if seconds else None


def _same_questions(measured: Measured) -> float | None:
    """Give the share of questions that `generate` and the native engine agree on."""
    first = measured.rounds[0]
    theirs = next((first[name]["tokens"] for name in ("example", "tuned") if name in first), None)
    if theirs is None:
        return None
    same = [bool(a == b) for a, b in zip(theirs, first["native"]["tokens"], strict=False)]
    return sum(same) / len(same)


def _padding(options: BenchOptions, lengths: Sequence[int]) -> dict[str, float]:
    batches: dict[str, Batches] = {
        "padding_share": native_batches(lengths, options),
        "generate_padding_share": example_batches(options.generate_rows),
    }
    return {name: round(padding_share(lengths, those), 4) for name, those in batches.items()}


def _memory(measured: Measured) -> dict[str, float]:
    """Give the memory of the native engine's process once loaded, and its peak."""
    return {
        "loaded_rss_mb": measured.facts["native"]["loaded_rss_mb"],
        "peak_rss_mb": max(measured.of("native", "peak_rss_mb")),
    }
