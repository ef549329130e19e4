"""`wenti bench …`: measure the engine on this machine."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.bench.options import CONTENDERS, BenchOptions
from tasks.errors import StorageError
from tasks.escaping import to_json
from tasks.store.storage import storage_faults

bench = typer.Typer(help="Measure the engine on this machine.", no_args_is_help=True)

_USUAL = BenchOptions()
MODEL = "Model (random weights)"

JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there as JSON.")
]
Rounds = Annotated[int, typer.Option(help="How often each contender answers; medians count.")]
Rows = Annotated[int, typer.Option(help="Rows of the native engine.")]
Length = Annotated[int, typer.Option(help="Tokens of a row; the mean if --uneven.")]
Beams = Annotated[int, typer.Option(help="Beams; 1 is greedy search.")]
Steps = Annotated[int, typer.Option(help="Tokens of each question.")]
Threads = Annotated[int, typer.Option(help="Threads.", show_default="all cores")]
BatchSize = Annotated[int, typer.Option(help="Most rows of a batch of the native engine.")]
Layers = Annotated[int, typer.Option(rich_help_panel=MODEL)]
Hidden = Annotated[int, typer.Option(rich_help_panel=MODEL)]
Vocab = Annotated[int, typer.Option(rich_help_panel=MODEL)]


@bench.command()
def engine(
    ctx: typer.Context,
    json_file: JsonFile = None,
    rounds: Rounds = _USUAL.rounds,
    rows: Rows = _USUAL.rows,
    generate_rows: Annotated[
        int | None, typer.Option(help="Rows of generate.", show_default="8; all if --uneven")
    ] = None,
    length: Length = _USUAL.length,
    uneven: Annotated[
        bool, typer.Option("--uneven/--even", help="Lengths spread as those of passages do.")
    ] = _USUAL.uneven,
    beams: Beams = _USUAL.beams,
    steps: Steps = _USUAL.steps,
    threads: Threads = _USUAL.threads,
    batch_size: BatchSize = _USUAL.batch_size,
    layers: Layers = _USUAL.layers,
    hidden: Hidden = _USUAL.hidden,
    vocab: Vocab = _USUAL.vocab,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="|".join(CONTENDERS), help="Measure these only; may be repeated."),
    ] = None,
) -> None:
    """The native engine beside PaddleNLP's generate and the machine's matrix products."""
    from flows.cli.tables.bench import print_engine
    from tasks.bench.engine import bench_engine

    fewer = rows if uneven else min(rows, _USUAL.generate_rows)
    options = _options(
        ctx,
        generate_rows=fewer if generate_rows is None else generate_rows,
        only=tuple(only or CONTENDERS),
    )
    _prepare(json_file)
    result = bench_engine(options)
    print_engine(result)
    _write(json_file, result)


@bench.command()
def scan(
    ctx: typer.Context,
    json_file: JsonFile = None,
    rounds: Rounds = 1,
    rows: Rows = _USUAL.rows,
    length: Annotated[int, typer.Option(help="Tokens of a row.")] = _USUAL.length,
    beams: Beams = _USUAL.beams,
    steps: Steps = _USUAL.steps,
    threads: Threads = _USUAL.threads,
    batch_size: BatchSize = _USUAL.batch_size,
    layers: Layers = _USUAL.layers,
    hidden: Hidden = _USUAL.hidden,
    vocab: Vocab = _USUAL.vocab,
) -> None:
    """Cost and memory of the native engine as beams, steps, lengths and batches change."""
    from flows.cli.tables.bench import print_scan
    from tasks.bench.scan import scan_engine

    options = _options(ctx, generate_rows=1)
    _prepare(json_file)
    result = scan_engine(options)
    print_scan(result)
    _write(json_file, result)


@bench.command()
def peers(
    ctx: typer.Context,
    json_file: JsonFile = None,
    python: Annotated[
        Path, typer.Option(help="Of an environment that has them; see `make bench-peers`.")
    ] = Path("build/peers/bin/python"),
    rounds: Rounds = _USUAL.rounds,
    rows: Rows = _USUAL.rows,
    peer_rows: Annotated[
        int | None, typer.Option(help="Rows of a peer.", show_default="all")
    ] = None,
    length: Annotated[int, typer.Option(help="Tokens of a row.")] = _USUAL.length,
    beams: Beams = _USUAL.beams,
    steps: Steps = _USUAL.steps,
    threads: Threads = _USUAL.threads,
    batch_size: BatchSize = _USUAL.batch_size,
    layers: Layers = _USUAL.layers,
    hidden: Hidden = _USUAL.hidden,
    vocab: Vocab = _USUAL.vocab,
) -> None:
    """The native engine beside transformers and CTranslate2 with a GPT-2 of the same size."""
    from flows.cli.tables.bench import print_peers
    from tasks.bench.peers import bench_peers

    options = _options(ctx, generate_rows=rows if peer_rows is None else peer_rows)
    _prepare(json_file)
    result = bench_peers(options, python)
    print_peers(result)
    _write(json_file, result)


def _options(ctx: typer.Context, **others: Any) -> BenchOptions:  # noqa: ANN401 of any option
    """Return what was asked for: parameters of a command are named as the options that they set."""
    names = {field.name for field in fields(BenchOptions)}
    given = {name: value for name, value in ctx.params.items() if name in names}
    return BenchOptions(**{**given, **others})


def _prepare(json_file: Path | None) -> None:
    """Refuse at the start what could not be written at the end, and log what happens."""
    if json_file is not None and (json_file.is_dir() or not json_file.parent.is_dir()):
        raise StorageError(f"--json {json_file} is no file in an existing folder; choose another")
    # Not `flows.cli.console.follow`: it promises that an interrupted run goes on.
    logger = logging.getLogger("wenti")
    logger.handlers = [logging.StreamHandler()]
    logger.setLevel(logging.INFO)


def _write(path: Path | None, result: dict[str, Any]) -> None:
    if path is None:
        return
    with storage_faults(path, "--json"):
        path.write_text(to_json(result) + "\n", encoding="utf-8")
