"""`wenti bench engine`: the native engine compared with PaddleNLP's example and the machine."""

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

OTHER = "other"
"""The native engine in another environment."""

SPENT = ("seconds", "user_seconds", "system_seconds", "gflops")
"""What is reported of each answer. Much system time, or much less processor time than wall-clock
time, is a sign of a disturbed round."""

logger = logging.getLogger("wenti")

Answers = Mapping[str, Mapping[str, Any]]
"""What each contender answered in a round, or the facts about it once loaded, by name."""


@dataclass(frozen=True)
class Measurements:
    """What the contenders answered.

    Attributes:
        facts: of each contender, once loaded.
        rounds: the answers of each round.
        stolen_share: share of processor time that a hypervisor gave to other guests. Above about
            0.02, the measured seconds are too high.
    """

    facts: Answers
    rounds: Sequence[Answers]
    stolen_share: float = 0.0

    def of(self, name: str, key: str = "seconds") -> list[float]:
        """Return one value of a contender from each round; empty if it was not measured."""
        return [answers[name][key] for answers in self.rounds if name in answers]


def bench_engine(options: BenchOptions) -> dict[str, Any]:
    """Build a random model, measure in rounds and return the figures, as JSON types.

    Raises:
        UnusableError: an option is out of range.
        WorkerError: a contender died.
        BadOutputError: a contender generated fewer tokens than are counted.
    """
    check_options(options)
    lengths = row_lengths(options)
    rows = make_rows(lengths, options.vocab)
    with (
        tempfile.TemporaryDirectory(prefix="wenti-bench-") as folder,
        open_contenders(Path(folder), options, rows) as contenders,
    ):
        measurements = measure(contenders, options)
    check_steps(measurements, options.steps)
    return summarise(options, lengths, measurements)


def build(
    folder: Path, options: BenchOptions, longest: int, python: str | None = None
) -> tuple[Path, Path]:
    """Make a random model and its export in `folder`, unless they exist.

    Args:
        folder: for both of them.
        options: size and search.
        longest: tokens of the longest row, which the model must have positions for.
        python: the interpreter of another environment, which makes an export of its own.

    Returns:
        The folders of the model and of the export.

    Raises:
        WorkerError: the process that builds them died.
    """
    model = folder / "checkpoint"
    export = folder / f"export-{options.beams}-{options.steps}{'-other' if python else ''}"
    if export.exists():
        return model, export
    logger.info("exporting for %d beams and %d steps …", options.beams, options.steps)
    order = {
        "options": options.as_dict(),
        "model": str(model),
        "export": str(export),
        "longest": longest,
    }
    with Contender("build", module_command("build", python), order, {}) as builder:
        builder.receive()
    return model, export


@contextmanager
def open_contenders(
    folder: Path, options: BenchOptions, rows: Sequence[Sequence[int]]
) -> Iterator[dict[str, Contender]]:
    """Build in `folder` and start the contenders in `options.only`, and `other` if it is measured.

    They load in parallel, which is not measured. Yields them by name and ends them with the block.
    """
    few, threads = rows[: options.generate_rows], options.threads
    model, export = build(folder, options, max(map(len, rows)))
    common = {"options": options.as_dict(), "model": str(model)}
    orders: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
        "example": ("example", {**common, "rows": few, "threads": None}, {}),
        "tuned": ("example", {**common, "rows": few, "threads": threads}, _threads(threads)),
        "native": ("native", {**common, "rows": rows, "export": str(export)}, {}),
        "products": ("products", {"threads": threads}, _threads(threads)),
    }
    commands = {name: module_command(orders[name][0]) for name in orders if name in options.only}
    if options.python is not None:
        _model, theirs = build(folder, options, max(map(len, rows)), options.python)
        orders[OTHER] = ("native", {**common, "rows": rows, "export": str(theirs)}, {})
        commands[OTHER] = module_command("native", options.python)
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Contender(name, command, *orders[name][1:]))
            for name, command in commands.items()
        }


def _threads(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads)}


def measure(contenders: Mapping[str, Contender], options: BenchOptions) -> Measurements:
    """Run `options.rounds` rounds, in each of which the contenders answer one after the other.

    Every second round runs backwards, so that nobody always comes first.

    Raises:
        WorkerError: a contender died.
    """
    facts = {name: contender.receive() for name, contender in contenders.items()}
    rounds = []
    ticks, stolen = processor_ticks()
    for number in range(options.rounds):
        names = list(contenders)[:: -1 if number % 2 else 1]
        answers = {name: contenders[name].ask() for name in names}
        took = ", ".join(f"{name} {answer['seconds']:.1f} s" for name, answer in answers.items())
        logger.info("round %d of %d: %s", number + 1, options.rounds, took)
        rounds.append(answers)
    all_ticks, all_stolen = processor_ticks()
    share = (all_stolen - stolen) / max(1, all_ticks - ticks)
    return Measurements(facts, rounds, share)


def check_steps(measurements: Measurements, steps: int) -> None:
    """Check that no question ended early, because the operation count assumes all steps.

    Raises:
        BadOutputError: the tokens of a question are not as many as the steps.
    """
    for answers in measurements.rounds:
        for name, answer in answers.items():
            counts = {sum(token != PAD for token in row) for row in answer.get("tokens", [])}
            if counts - {steps}:
                raise BadOutputError(
                    f"{name} generated {sorted(counts)} tokens per row instead of {steps}; the "
                    "figures would be meaningless: choose another --steps or --vocab"
                )


def summarise(
    options: BenchOptions, lengths: Sequence[int], measurements: Measurements
) -> dict[str, Any]:
    """Return the figures as JSON types; those of contenders that did not run are None.

    Seconds are medians of the rounds, ratios are medians of the rounds' ratios, rates are in 10⁹
    operations per second, and memory is in MB of 10⁶ bytes.
    """
    seconds = float(median(measurements.of("native")))
    rates = measurements.of("products", "gflops")
    operations = count_operations(lengths, options.beams, options.steps, options.size)
    floor = operations / max(rates) / 1e9 if rates else None
    return {
        "ratio_to_generate": _ratio(measurements, "example", options),
        "ratio_to_generate_tuned": _ratio(measurements, "tuned", options),
        "floor_share": None if floor is None else round(floor / seconds, 4),
        "gemm_gflops": round(max(rates), 1) if rates else None,
        "gflop_per_row": round(operations / options.rows / 1e9, 4),
        "seconds_per_row": _per_row(measurements.of("native"), options.rows),
        "generate_seconds_per_row": _per_row(measurements.of("example"), options.generate_rows),
        "generate_tuned_seconds_per_row": _per_row(measurements.of("tuned"), options.generate_rows),
        "rows_per_second": round(options.rows / seconds, 4),
        "tokens_per_second": round(sum(lengths) / seconds, 1),
        "stolen_share": round(measurements.stolen_share, 4),
        "same_questions": _same_questions(measurements, "example", "tuned"),
        **_compare_environments(options, measurements, operations),
        **_padding(options, lengths),
        **_memory(measurements),
        "rounds": [
            {name: {key: answer.get(key) for key in SPENT} for name, answer in answers.items()}
            for answers in measurements.rounds
        ],
        "settings": {**options.as_dict(), "contenders": measurements.facts, **describe_machine()},
    }


def _ratio(measurements: Measurements, name: str, options: BenchOptions) -> float | None:
    """Return the median ratio of our seconds per row to those of a contender with `generate`."""
    share = options.generate_rows / options.rows
    pairs = zip(measurements.of("native"), measurements.of(name), strict=False)
    ratios: list[float] = [share * ours / theirs for ours, theirs in pairs]
    return round(median(ratios), 5) if ratios else None


def _per_row(seconds: Sequence[float], rows: int) -> float | None:
    return round(median(seconds) / rows, 6) if seconds else None


def _compare_environments(
    options: BenchOptions, measurements: Measurements, operations: int
) -> dict[str, float | None]:
    """Return the CPU seconds of the native engine here, and all figures of the other environment.

    `floor_cpu_share` is `floor_share` in CPU seconds, for machines with other load.
    """
    ours, theirs = (_cpu_seconds(measurements, name) for name in ("native", OTHER))
    rates = measurements.of("products", "gflops")
    floor = operations * options.threads / max(rates) / 1e9 if rates else None
    ratios = [a / b for a, b in zip(ours, theirs, strict=False)]
    return {
        "cpu_seconds_per_row": _per_row(ours, options.rows),
        "floor_cpu_share": round(floor / median(ours), 4) if floor else None,
        "other_seconds_per_row": _per_row(measurements.of(OTHER), options.rows),
        "other_cpu_seconds_per_row": _per_row(theirs, options.rows),
        "other_floor_cpu_share": round(floor / median(theirs), 4) if floor and theirs else None,
        "cpu_ratio_to_other": round(median(ratios), 4) if ratios else None,
        "other_same_questions": _same_questions(measurements, OTHER),
    }


def _cpu_seconds(measurements: Measurements, name: str) -> list[float]:
    spent = (measurements.of(name, key) for key in ("user_seconds", "system_seconds"))
    return [user + system for user, system in zip(*spent, strict=True)]


def _same_questions(measurements: Measurements, *others: str) -> float | None:
    """Return the share of questions on which the first of `others` and the native engine agree."""
    first = measurements.rounds[0]
    theirs = next((first[name]["tokens"] for name in others if name in first), None)
    if theirs is None:
        return None
    same = [bool(a == b) for a, b in zip(theirs, first["native"]["tokens"], strict=False)]
    return sum(same) / len(same)


def _padding(options: BenchOptions, lengths: Sequence[int]) -> dict[str, float]:
    batches: dict[str, Batches] = {
        "padding_share": native_batches(lengths, options),
        "generate_padding_share": example_batches(options.generate_rows),
    }
    return {name: round(padding_share(lengths, plan), 4) for name, plan in batches.items()}


def _memory(measurements: Measurements) -> dict[str, float]:
    """Return the memory of the native engine's process after loading, and its peak, in MB."""
    return {
        "loaded_rss_mb": measurements.facts["native"]["loaded_rss_mb"],
        "peak_rss_mb": max(measurements.of("native", "peak_rss_mb")),
    }
