"""The options of `wenti bench`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.bench.words import MOST
from tasks.engine.models.config import ModelSize
from tasks.engine.tokenization import vocabulary
from tasks.errors import UnusableError

if TYPE_CHECKING:  # the command line imports this module for its defaults and must start fast
    from tasks.config.settings import DecodeSettings, PredictSettings


CONTENDERS = ("example", "tuned", "native", "products")
"""PaddleNLP's example, the same with the native engine's settings, the native engine, the rate of
matrix products."""

PARENT = ("start", "predict", "aggregate", "evaluate", "report", "end")
"""The parts of the chain's CPU time that are the run's own process, by its stage."""

HEAD_SIZE = 64
FFN_FACTOR = 4
POSITIONS = 513  # of unimo-text-1.0
TYPES = 4
SPECIAL_TOKENS = tuple(vocabulary.SPECIAL_TOKENS.values())
"""Those of the random model, with the ids 0 to 4."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class BenchOptions:
    """What is generated, by which contenders, and how often.

    Attributes:
        rows: number of rows for the native engine.
        generate_rows: number of rows for `generate`, which gets the first of `rows`; fewer, because
            it is slow. With uneven lengths it must equal `rows`.
        length: tokens per row, including the start token; the mean with uneven lengths.
        uneven: whether lengths vary as those of passages do.
        beams: number of beams; 1 is greedy search.
        steps: tokens per question; the model makes eos so unlikely that all steps are done.
        threads: of the native engine, of `tuned` and of the matrix products.
        batch_size: maximum rows of a batch of the native engine.
        layers: of the random model.
        hidden: hidden size of the random model.
        vocab: vocabulary size of the random model.
        rounds: how often each contender answers.
        device: of the native engine and of `generate`.
        only: names of the contenders that are measured.
        python: the interpreter of another environment, in which the native engine is measured, too.
    """

    rows: int = 30
    generate_rows: int = 8
    length: int = 270
    uneven: bool = False
    beams: int = 6
    steps: int = 20
    threads: int = field(default_factory=available_cores)
    batch_size: int = 32
    layers: int = 12
    hidden: int = 768
    vocab: int = 18000
    rounds: int = 3
    device: str = "cpu"
    only: tuple[str, ...] = CONTENDERS
    python: str | None = None

    @property
    def size(self) -> ModelSize:
        """The dimensions of the random model."""
        return ModelSize(
            layers=self.layers,
            hidden=self.hidden,
            heads=self.heads,
            intermediate=FFN_FACTOR * self.hidden,
            vocabulary=self.vocab,
            positions=POSITIONS,
            types=TYPES,
        )

    @property
    def heads(self) -> int:
        """Attention heads of the random model, of size 64 as in the base model if possible."""
        return max(1, self.hidden // HEAD_SIZE)

    @property
    def decode(self) -> DecodeSettings:
        """The settings of the search."""
        from tasks.config.settings import DecodeSettings

        shortest = min(DecodeSettings().min_dec_len, self.steps)
        return DecodeSettings(num_beams=self.beams, max_dec_len=self.steps, min_dec_len=shortest)

    @property
    def predict(self) -> PredictSettings:
        """The settings with which the native engine runs."""
        from tasks.config.settings import PredictSettings

        return PredictSettings(
            devices=(self.device,), cpu_threads=self.threads, batch_size=self.batch_size
        )

    def as_dict(self) -> dict[str, Any]:
        """Return all options as plain JSON types."""
        return asdict(self) | {"only": list(self.only)}


@dataclass(frozen=True)
class PipelineOptions:
    """What is run.

    Attributes:
        rows: the sizes of the input.
        characters: of a passage.
        rows_per_shard: of the config.
        rounds: runs of each kind for each size, whose medians are reported.
        seed: of the passages.
    """

    rows: tuple[int, ...] = (1_000, 10_000, 100_000)
    characters: int = 550
    rows_per_shard: int = 4096
    rounds: int = 1
    seed: int = 20


def check_options(options: BenchOptions) -> None:
    """Check the ranges of all options, before anything is built.

    Raises:
        UnusableError: an option is out of range; the message names it and what is allowed.
    """
    fewest = {"rows": 1, "generate_rows": 1, "length": 4, "beams": 1, "steps": 1, "threads": 1}
    fewest |= {"batch_size": 1, "layers": 1, "hidden": 2, "rounds": 1}
    fewest["vocab"] = max(len(SPECIAL_TOKENS) + 1, 2 * options.beams)
    for name, least in fewest.items():
        if getattr(options, name) < least:
            _refuse(name, getattr(options, name), f"at least {least}")
    most = {"threads": available_cores(), "beams": 64, "steps": 512, "generate_rows": options.rows}
    most["vocab"] = len(SPECIAL_TOKENS) + MOST
    for name, limit in most.items():
        if getattr(options, name) > limit:
            _refuse(name, getattr(options, name), f"at most {limit} here")
    if options.hidden > HEAD_SIZE and options.hidden % HEAD_SIZE:
        _refuse("hidden", options.hidden, f"a multiple of {HEAD_SIZE}")
    if options.uneven and options.generate_rows != options.rows:
        _refuse("generate_rows", options.generate_rows, f"{options.rows}, as --rows, if --uneven")
    _check_only(options.only)
    if options.python is not None:
        check_python(options.python, "make install PADDLE=3")


def check_python(python: str, command: str) -> None:
    """Check that an interpreter can be run; `command` installs one.

    Raises:
        UnusableError: it cannot.
    """
    if not os.access(python, os.X_OK):
        raise UnusableError(f"--python {python} is not executable; `{command}` installs one")


def _check_only(only: Sequence[str]) -> None:
    for name in only:
        if name not in CONTENDERS:
            _refuse("only", name, ", ".join(CONTENDERS))
    if "native" not in only:
        _refuse("only", ",".join(only), "a list with native, which all figures refer to")


def _refuse(name: str, value: object, allowed: str) -> None:
    option = f"--{name.replace('_', '-')}"
    raise UnusableError(f"{option} {value} cannot be measured; allowed: {allowed}")
