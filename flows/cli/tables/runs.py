"""The tables that the commands print: summaries, runs, shards, verification, garbage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Column, Table
from rich.text import Text

from flows.cli.console import output
from flows.summary import (
    count_new,
    count_reuse,
    count_rows,
    tell_losses,
    tell_quality,
    tell_rejects,
    tell_suspicion,
)
from tasks.addresses import absolute_place
from tasks.escaping import visible
from tasks.evaluation.scores import HEADLINE_METRICS, METRIC_NAMES
from tasks.operations.gc import Garbage
from tasks.operations.runs import RunSummary
from tasks.operations.status import ShardStatus, Status
from tasks.operations.verify import Checked
from tasks.report.facts import has_many_rejects
from tasks.report.formatting import price
from tasks.runs.results import REPORT_FILE
from tasks.store.layout import Store


def _add_row(table: Table, *cells: str, style: str | None = None) -> None:
    """Add cells to a table as plain text: Rich reads a `str` as markup and replaces `:smile:`."""
    table.add_row(*(Text(visible(cell)) for cell in cells), style=style)


def print_summary(folder: PurePath, metrics: Mapping[str, Any]) -> None:
    """Print a run's rows, rejects, shards and scores, and where its results are."""
    lines = {
        **({"warning": tell_rejects(metrics)} if has_many_rejects(metrics) else {}),
        "rows": count_rows(metrics),
        **tell_losses(metrics),
        **tell_quality(metrics),
        **tell_suspicion(metrics),
        "shards": _shards(metrics),
        "generated": count_reuse(metrics),
        "new": count_new(metrics),
        "scores": _scores(metrics),
        "cost": None if metrics.get("cost") is None else price(metrics["cost"]),
        "results": str(folder),
        "report": str(folder / REPORT_FILE),
    }
    table = Table.grid(padding=(0, 2))
    for name, text in lines.items():
        if text is not None:
            _add_row(table, name, text)
    output().print(table)


def _shards(metrics: Mapping[str, Any]) -> str:
    counts = {name: metrics[f"shards_{name}"] for name in ("reused", "made", "failed", "left_out")}
    told = {name: count for name, count in counts.items() if name != "left_out" or count}
    text = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in told.items())
    return f"{text} (partial: their rows are rejects)" if metrics["partial"] else text


def _scores(metrics: Mapping[str, Any]) -> str:
    if not metrics["references"]:
        return "none: the passages have no reference questions"
    return ", ".join(f"{METRIC_NAMES[key]} {metrics[key]:.2f}" for key in HEADLINE_METRICS)


def print_status(status: Status) -> None:
    """Print a table of the stages, a table of the shards, and what is damaged."""
    stages = Table("stage", "state", "rows", "fingerprint", box=None, pad_edge=False)
    for stage in status.stages:
        rows = "" if stage.rows is None else str(stage.rows)
        _add_row(stages, stage.name, stage.state, rows, stage.fingerprint[:12])
    console = output()
    if status.run is not None:
        console.print(Text(visible(f"run {status.run.run_id} {status.run}")), soft_wrap=True)
        console.print()
    console.print(stages)
    if status.shards:
        console.print()
        console.print(_tabulate_shards(status.shards))
    _print_owners(console, status)
    _print_damages(console, status.damages)


def _tabulate_shards(shards: Sequence[ShardStatus]) -> Table:
    table = Table("shard", "state", "rows", "attempts", "last error", box=None, pad_edge=False)
    for shard in shards:
        numbers = (str(shard.rows), str(shard.attempts))
        _add_row(table, str(shard.index), shard.state, *numbers, shard.last_error or "")
    return table


def _print_owners(console: Console, status: Status) -> None:
    """Print which stages and shards each run is making."""
    parts: dict[str, list[str]] = {}
    for stage in status.stages:
        if stage.owner is not None:
            parts.setdefault(str(stage.owner), []).append(stage.name)
    for shard in status.shards:
        if shard.owner is not None:
            parts.setdefault(str(shard.owner), []).append(f"shard {shard.index}")
    for owner, names in parts.items():
        text = f"in work: {', '.join(names)} by {owner}"
        console.print(Text(visible(text)), soft_wrap=True)


def print_runs(runs: Sequence[RunSummary], store: Store) -> None:
    """Print a table of runs."""
    console = output()
    if not runs:
        text = f"there are no runs in {absolute_place(store.root)}"
        console.print(Text(visible(text)), soft_wrap=True)
        return
    numbers = [Column(name, justify="right") for name in ("rows", "rejects", "BLEU-4", "seconds")]
    run = Column("run", no_wrap=True)
    table = Table(run, "state", *numbers, "config", box=None, pad_edge=False)
    for one in runs:
        state = one.state
        bleu = "" if one.bleu_4 is None else f"{one.bleu_4:.2f}"
        figures = ["" if one is None else str(one) for one in (one.rows, one.rejects)]
        seconds = "" if state.seconds is None else f"{state.seconds:.0f}"
        config = Path(state.config_file or "").stem
        _add_row(table, state.run_id, state.state, *figures, bleu, seconds, config)
    console.print(table)


def print_checked(checked: Sequence[Checked]) -> None:
    """Print a table of the parts of a run, and what is wrong with them."""
    table = Table("part", "state", "file", box=None, pad_edge=False)
    for part in checked:
        _add_row(table, part.part, part.state, Path(part.path).name)
    console = output()
    console.print(table)
    _print_damages(console, [part.problem for part in checked if part.problem])


def print_garbage(garbage: Sequence[Garbage], is_removed: bool) -> None:
    """Print what no run refers to, its size, and whether it was removed."""
    console = output()
    if not garbage:
        console.print("nothing to remove")
        return
    table = Table("size", "why", "path", box=None, pad_edge=False)
    for one in garbage:
        _add_row(table, decimal(one.size), one.why, str(one.path))
    console.print(table)
    what = "removed" if is_removed else "can be removed with --delete"
    console.print(f"{decimal(sum(one.size for one in garbage))} {what}")


def _print_damages(console: Console, damages: Sequence[str]) -> None:
    for damage in damages:
        console.print(Text(visible(f"damaged: {damage}")), soft_wrap=True)
