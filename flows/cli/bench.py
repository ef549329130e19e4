"""`wenti bench …`: measure the engine, or the chain around it, on this machine."""

from __future__ import annotations

import logging
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.bench.options import CONTENDERS, BenchOptions, PipelineOptions
from tasks.errors import StorageError
from tasks.escaping import to_json
from tasks.system_errors import storage_faults

bench = typer.Typer(
    help="Measure the engine, or the chain around it, on this machine.", no_args_is_help=True
)

_USUAL, _CHAIN = BenchOptions(), PipelineOptions()
MAIN = "from flows.cli.main import main; main()"
MODEL = "Model (random weights)"

JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures as JSON.")
]
Rounds = Annotated[int, typer.Option(help="Rounds to measure; medians are reported.")]
Rows = Annotated[int, typer.Option(help="Rows for the native engine.")]
Length = Annotated[int, typer.Option(help="Tokens per row; the mean if --uneven.")]
Beams = Annotated[int, typer.Option(help="Beams; 1 is greedy search.")]
Steps = Annotated[int, typer.Option(help="Tokens per question.")]
Threads = Annotated[int, typer.Option(help="Threads.", show_default="all cores")]
BatchSize = Annotated[int, typer.Option(help="Maximum rows per batch of the native engine.")]
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
        int | None, typer.Option(help="Rows for generate.", show_default="8; all if --uneven")
    ] = None,
    length: Length = _USUAL.length,
    uneven: Annotated[
        bool, typer.Option("--uneven/--even", help="Vary the lengths as in real passages.")
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
        typer.Option(metavar="|".join(CONTENDERS), help="Measure only these; may be repeated."),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="Also measure the native engine in this environment; see `make bench-paddle3`.",
        ),
    ] = None,
) -> None:
    """Compare the native engine with PaddleNLP's generate and the machine's matrix products."""
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
    length: Annotated[int, typer.Option(help="Tokens per row.")] = _USUAL.length,
    beams: Beams = _USUAL.beams,
    steps: Steps = _USUAL.steps,
    threads: Threads = _USUAL.threads,
    batch_size: BatchSize = _USUAL.batch_size,
    layers: Layers = _USUAL.layers,
    hidden: Hidden = _USUAL.hidden,
    vocab: Vocab = _USUAL.vocab,
) -> None:
    """Measure time and memory of the native engine for other beams, steps, lengths and batches."""
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
        Path, typer.Option(help="Python of an environment with them; see `make bench-peers`.")
    ] = Path("build/peers/bin/python"),
    rounds: Rounds = _USUAL.rounds,
    rows: Rows = _USUAL.rows,
    peer_rows: Annotated[
        int | None, typer.Option(help="Rows for each peer.", show_default="all")
    ] = None,
    length: Annotated[int, typer.Option(help="Tokens per row.")] = _USUAL.length,
    beams: Beams = _USUAL.beams,
    steps: Steps = _USUAL.steps,
    threads: Threads = _USUAL.threads,
    batch_size: BatchSize = _USUAL.batch_size,
    layers: Layers = _USUAL.layers,
    hidden: Hidden = _USUAL.hidden,
    vocab: Vocab = _USUAL.vocab,
) -> None:
    """Compare the native engine with transformers and CTranslate2 on a GPT-2 of the same size."""
    from flows.cli.tables.bench import print_peers
    from tasks.bench.peers import bench_peers

    few = rows if peer_rows is None else peer_rows
    options = _options(ctx, generate_rows=few, python=None)  # it has no Wenti
    _prepare(json_file)
    result = bench_peers(options, python)
    print_peers(result)
    _write(json_file, result)


@bench.command()
def pipeline(
    json_file: JsonFile = None,
    rounds: Annotated[int, typer.Option(help="Runs of each kind and size.")] = _CHAIN.rounds,
    rows: Annotated[list[int] | None, typer.Option(help="A size; may be repeated.")] = None,
    characters: Annotated[int, typer.Option(help="Of a passage.")] = _CHAIN.characters,
    rows_per_shard: Annotated[int, typer.Option(help="As in a config.")] = _CHAIN.rows_per_shard,
    seed: Annotated[int, typer.Option(help="Of the passages.")] = _CHAIN.seed,
    peers: Annotated[
        Path | None,
        typer.Option(
            metavar="PYTHON", help="Also run datatrove and Ray Data; see `make bench-peers`."
        ),
    ] = None,
) -> None:
    """Measure CPU time and memory of everything around the model, run with the fake engine."""
    from flows.cli.tables.bench import print_pipeline
    from tasks.bench.pipeline import bench_pipeline

    sizes = tuple(rows or _CHAIN.rows)
    options = PipelineOptions(sizes, characters, rows_per_shard, rounds, seed)
    _prepare(json_file)
    result = bench_pipeline(options, [sys.executable, "-c", MAIN], peers)
    print_pipeline(result)
    _write(json_file, result)


def _options(ctx: typer.Context, **others: Any) -> BenchOptions:  # noqa: ANN401 of any option
    """Return the options of a command; its parameters have the names of the fields they set."""
    names = {field.name for field in fields(BenchOptions)}
    given = {name: value for name, value in ctx.params.items() if name in names}
    return BenchOptions(**{**given, **others})


def _prepare(json_file: Path | None) -> None:
    """Check at the start that the JSON file can be written at the end; log to standard error."""
    if json_file is not None and (json_file.is_dir() or not json_file.parent.is_dir()):
        raise StorageError(
            f"--json {json_file}: not a file in an existing folder; choose another path"
        )
    # Not `flows.cli.console.follow`, which says that an interrupted run can be continued.
    logger = logging.getLogger("wenti")
    logger.handlers = [logging.StreamHandler()]
    logger.setLevel(logging.INFO)


def _write(path: Path | None, result: dict[str, Any]) -> None:
    if path is None:
        return
    with storage_faults(path, "--json"):
        path.write_text(to_json(result) + "\n", encoding="utf-8")
