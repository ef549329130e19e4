"""`wenti bench pipeline`: CPU time and memory of the whole chain around a model.

The model is the fake engine, so what is measured is everything else: a run from nothing, and a run
that reuses all, each in a process of its own as a user starts it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from tasks.bench.chain.passages import write_model, write_passages
from tasks.bench.chain.peers import PEERS, run_peer, split_passages
from tasks.bench.chain.processes import Usage, follow
from tasks.bench.machine import describe_machine
from tasks.bench.options import PARENT, PipelineOptions
from tasks.errors import UnusableError

logger = logging.getLogger("wenti")

KINDS = ("fresh", "reused")
PARTS = (*PARENT, "helpers", "export", "load", "worker", "server")

Figures = dict[str, Any]


def bench_pipeline(
    options: PipelineOptions, command: Sequence[str], peers: Path | None = None
) -> dict[str, Any]:
    """Run the chain for each size, from nothing and reusing all; return the figures as JSON types.

    Args:
        options: what is run.
        command: that of `wenti`.
        peers: interpreter of an environment with datatrove and Ray Data, which are then run on the
            same rows, in the same rounds.

    Raises:
        UnusableError: an option is out of range.
        WorkerError: a run failed.
    """
    _check(options, peers)
    points: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="wenti-bench-") as name:
        folder = Path(name)
        write_model(folder / "model")
        _run_round(folder, command, options, 10, KINDS[:1])  # Prefect makes its database
        for rows in sorted(options.rows):
            rounds = [
                [*_run_round(folder, command, options, rows), *_run_peers(folder, peers, rows)]
                for _ in range(options.rounds)
            ]
            points += map(_join, zip(*rounds, strict=True))
    return {
        "points": [{**point, **_divide(point, points)} for point in points],
        "settings": {**asdict(options), **describe_machine()},
    }


def _check(options: PipelineOptions, peers: Path | None) -> None:
    if peers is not None and not os.access(peers, os.X_OK):
        raise UnusableError(f"--peers {peers} is not executable; `make bench-peers` installs it")
    fewest = {"characters": 32, "rows_per_shard": 1, "rounds": 1}
    given = {**{name: getattr(options, name) for name in fewest}, "rows": min(options.rows)}
    for name, value in given.items():
        if value < (least := fewest.get(name, 1)):
            option = f"--{name.replace('_', '-')}"
            raise UnusableError(f"{option} {value} cannot be measured; allowed: at least {least}")


def _run_round(
    folder: Path,
    command: Sequence[str],
    options: PipelineOptions,
    rows: int,
    kinds: Sequence[str] = KINDS,
) -> list[Figures]:
    """Run the chain once for each kind, with a store of its own; return what each run used."""
    passages = folder / f"passages-{rows}.jsonl"
    if not passages.exists():
        write_passages(passages, rows, options.characters, options.seed)
    with tempfile.TemporaryDirectory(dir=folder) as store:
        settings = {
            "model.model_name_or_path": folder / "model",
            "dataset.predict_file": passages,
            "export.engine": "fake",
            "predict.device": "cpu",
            "shards.rows_per_shard": options.rows_per_shard,
            "store.path": store,
        }
        config = folder / "config.yaml"
        config.write_text("{}\n", encoding="utf-8")
        pairs = (("--set", f"{key}={value}") for key, value in settings.items())
        run = [*command, "run", str(config), *chain.from_iterable(pairs)]
        return [_run(run, folder, Path(store), kind, rows) for kind in kinds]


def _run_peers(folder: Path, python: Path | None, rows: int) -> Iterator[Figures]:
    """Yield what each peer used for the passages that `_run_round` has written."""
    for name in PEERS if python else ():
        source = split_passages(folder / f"passages-{rows}.jsonl")
        with tempfile.TemporaryDirectory(dir=folder) as place:
            total, usage = run_peer(name, Path(str(python)), source, Path(place))
        logger.info("%s, %d rows: %.1f s of CPU", name, rows, total)
        alone = Usage(usage.root, peaks=usage.peaks)  # its processes have no parts
        yield _describe(name, rows, total, alone)


def _run(command: Sequence[str], folder: Path, store: Path, kind: str, rows: int) -> Figures:
    process = subprocess.Popen(  # noqa: S603 our own command
        list(command),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PREFECT_HOME": str(folder / "prefect")},
        text=True,
    )
    latest = store / "runs/latest"
    total, usage = follow(process, latest)
    logger.info("%s, %d rows: %.1f s of CPU", kind, rows, total)
    size = (latest / "report.html").stat().st_size
    return _describe(kind, rows, total, usage) | {"report_mb": size / 1e6}


def _describe(kind: str, rows: int, total: float, usage: Usage) -> Figures:
    parts = {part: usage.parts[part] for part in PARTS}
    return {
        "run": kind,
        "rows": rows,
        "cpu_seconds": total,
        **parts,
        "other": total - sum(parts.values()),
        "parent_mb": usage.peaks["parent"],
        "worker_mb": usage.peaks["worker"],
        "report_mb": 0.0,
    }


def _join(runs: Sequence[Figures]) -> Figures:
    """Return the medians of equal runs."""
    return {
        name: value if isinstance(value, str) else round(median(run[name] for run in runs), 2)
        for name, value in runs[0].items()
    }


def _divide(point: Figures, points: Sequence[Figures]) -> Figures:
    """Return the cost of a row in microseconds of CPU.

    `us_a_row` has all of a run in it; `added_us_a_row` only what the run used more than the run of
    the same kind with the fewest rows: what each further row costs. It is None for that one.
    """
    first = next(one for one in points if one["run"] == point["run"])
    more = point["rows"] - first["rows"]
    names = (*PARTS, "other")
    return {
        "us_a_row": round(1e6 * point["cpu_seconds"] / point["rows"], 1),
        "added_us_a_row": {
            name: round(1e6 * (point[name] - first[name]) / more, 1)
            for name in ("cpu_seconds", *names)
        }
        if more
        else None,
    }
