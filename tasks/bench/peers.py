"""`wenti bench peers`: the native engine compared with transformers and CTranslate2."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from tasks.bench.contenders.contender import Contender, module_command
from tasks.bench.contenders.peer import POSITIONS
from tasks.bench.engine import build
from tasks.bench.machine import describe_machine
from tasks.bench.options import BenchOptions, check_options, check_python
from tasks.bench.workload import make_rows, row_lengths
from tasks.errors import UnusableError

logger = logging.getLogger("wenti")

SCRIPT = Path(__file__).parent / "contenders/peer.py"
BATCH_SIZES = (8, 16)
PEERS: dict[str, dict[str, str]] = {
    "transformers": {"kind": "transformers"},
    "ctranslate2": {"kind": "ctranslate2", "compute_type": "float32"},
    "ctranslate2_int8": {"kind": "ctranslate2", "compute_type": "int8"},
}

Seconds = dict[tuple[str, int], float]
"""Seconds of each peer with each batch size, by name and batch size."""


def bench_peers(options: BenchOptions, python: Path) -> dict[str, Any]:
    """Measure the native engine and its peers in rounds, on rows of one length.

    In the first round a peer answers with each batch size; later rounds use the faster one. Peers
    get the first `generate_rows` of the rows.

    Args:
        options: rows, search, threads and size of the model.
        python: interpreter of an environment with torch, transformers and CTranslate2.

    Returns:
        Seconds per row and the ratios of ours to the peers', as JSON types.

    Raises:
        UnusableError: an option is out of range, or the environment does not exist.
        WorkerError: a contender died.
    """
    _check(options, python)
    rows = make_rows(row_lengths(options), options.vocab)
    with tempfile.TemporaryDirectory(prefix="wenti-bench-") as name:
        folder = Path(name)
        _model, export = build(folder, options, options.length)
        _build_peer(python, folder / "peer", options)
        few = rows[: options.generate_rows]
        order = {"options": options.as_dict(), "rows": rows, "export": str(export)}
        with (
            _open_peers(python, folder / "peer", options, few) as peers,
            Contender("native", module_command("native"), order, {}) as native,
        ):
            facts = {name: peer.receive() for (name, _size), peer in peers.items()}
            native.receive()
            rounds = list(_measure(native, peers, options.rounds))
    return {
        **_summarize(options, rounds),
        "settings": {**options.as_dict(), "contenders": facts, **describe_machine()},
    }


def _check(options: BenchOptions, python: Path) -> None:
    check_options(options)
    if options.uneven or options.length + options.steps > POSITIONS:
        raise UnusableError(
            f"the peers' model has {POSITIONS} positions and needs rows of one length; choose "
            "--length and --steps with a smaller sum, and no --uneven"
        )
    check_python(str(python), "make bench-peers")


def _build_peer(python: Path, folder: Path, options: BenchOptions) -> None:
    size = {"vocab": options.vocab, "hidden": options.hidden, "layers": options.layers}
    order = {"kind": "build", "folder": str(folder), "heads": options.heads, **size}
    with Contender("build of the peers", [str(python), str(SCRIPT)], order, {}) as builder:
        builder.receive()


@contextmanager
def _open_peers(
    python: Path, folder: Path, options: BenchOptions, rows: list[list[int]]
) -> Iterator[dict[tuple[str, int], Contender]]:
    """Start each peer once per batch size, sizes above the number of rows counting as that."""
    common = {
        "folder": str(folder),
        "rows": rows,
        "beams": options.beams,
        "steps": options.steps,
        "threads": options.threads,
        "length_penalty": options.decode.length_penalty,
    }
    variables = {"OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    command = [str(python), str(SCRIPT)]
    with ExitStack() as stack:
        yield {
            (name, size): stack.enter_context(
                Contender(name, command, {**common, **peer, "batch_size": size}, variables)
            )
            for name, peer in PEERS.items()
            for size in sorted({min(size, len(rows)) for size in BATCH_SIZES})
        }


def _measure(
    native: Contender, peers: Mapping[tuple[str, int], Contender], rounds: int
) -> Iterator[tuple[float, Seconds]]:
    """Yield, for each round, the seconds of the native engine and of the remaining peers."""
    remaining = list(peers)
    for number in range(rounds):
        ours = native.ask()["seconds"]
        theirs = {peer: peers[peer].ask()["seconds"] for peer in remaining}
        took = ", ".join(f"{name}/{size} {value:.1f} s" for (name, size), value in theirs.items())
        logger.info("round %d of %d: native %.1f s, %s", number + 1, rounds, ours, took)
        remaining = _best(theirs)
        yield ours, theirs


def _summarize(options: BenchOptions, rounds: list[tuple[float, Seconds]]) -> dict[str, Any]:
    ours = [native / options.rows for native, _theirs in rounds]
    result: dict[str, Any] = {"seconds_per_row": round(median(ours), 6), "peers": {}}
    for name, size in _best(rounds[-1][1]):
        theirs = [seconds[name, size] / options.generate_rows for _native, seconds in rounds]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        result[f"ratio_to_{name}"] = round(median(ratios), 5)
        result["peers"][name] = {"seconds_per_row": round(median(theirs), 6), "batch_size": size}
    return result


def _best(seconds: Seconds) -> list[tuple[str, int]]:
    """Return each peer with its faster batch size."""
    return [
        min((peer for peer in seconds if peer[0] == name), key=seconds.__getitem__)
        for name in PEERS
    ]
