"""What `wenti bench` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from flows.cli.console import output
from tasks.bench.options import PARENT
from tasks.escaping import visible

Form = Callable[[Any], str]


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value >= 0.01 else f"{1000 * value:.3f} ms"


ENGINE_ROWS: Sequence[tuple[str, str, Form]] = (
    ("seconds a row, native engine", "seconds_per_row", _seconds),
    ("CPU seconds a row, native engine", "cpu_seconds_per_row", _seconds),
    ("seconds a row, the other environment", "other_seconds_per_row", _seconds),
    ("CPU seconds a row, the other environment", "other_cpu_seconds_per_row", _seconds),
    ("our CPU time relative to the other environment's", "cpu_ratio_to_other", _share),
    ("seconds a row, the example's generate", "generate_seconds_per_row", _seconds),
    ("seconds a row, generate with our settings", "generate_tuned_seconds_per_row", _seconds),
    ("our time relative to the example's generate", "ratio_to_generate", _share),
    ("our time relative to generate with our settings", "ratio_to_generate_tuned", _share),
    ("share of the matrix-product floor", "floor_share", _share),
    ("the same in CPU time", "floor_cpu_share", _share),
    ("the same in the other environment", "other_floor_cpu_share", _share),
    ("counted operations a row", "gflop_per_row", lambda value: f"{value:.2f} GFLOP"),
    ("matrix products of this machine", "gemm_gflops", lambda value: f"{value:.1f} GFLOP/s"),
    ("rows per second", "rows_per_second", lambda value: f"{value:.3f}"),
    ("source tokens per second", "tokens_per_second", lambda value: f"{value:.0f}"),
    ("padding, native engine", "padding_share", _share),
    ("padding, the example", "generate_padding_share", _share),
    ("same questions as generate", "same_questions", _share),
    ("same questions in the other environment", "other_same_questions", _share),
    ("processor time taken by other guests", "stolen_share", _share),
    ("memory once loaded", "loaded_rss_mb", lambda value: f"{value:.0f} MB"),
    ("peak memory", "peak_rss_mb", lambda value: f"{value:.0f} MB"),
)


def print_engine(result: Mapping[str, Any]) -> None:
    """Print the measurements of `wenti bench engine` and the workload."""
    table = Table("", Column(justify="right"), box=None, pad_edge=False, show_header=False)
    for name, key, form in ENGINE_ROWS:
        if result[key] is not None:
            table.add_row(Text(name), Text(form(result[key])))
    console = output()
    console.print(table)
    _print_settings(console, result["settings"])


def print_scan(result: Mapping[str, Any]) -> None:
    """Print the time of a row and the memory of the process, one line per point."""
    names = ("beams", "steps", "length", "rows", "batch_size")
    heads = ("s a row", "GFLOP a row", "GFLOP/s", "MB loaded", "MB peak")
    columns = [Column(name.replace("_size", ""), justify="right") for name in (*names, *heads)]
    table = Table(*columns, box=None, pad_edge=False)
    for point in result["points"]:
        table.add_row(
            *(str(point[name]) for name in names),
            f"{point['seconds_per_row']:.4f}",
            f"{point['gflop_per_row']:.2f}",
            f"{point['gflops']:.1f}",
            f"{point['loaded_rss_mb']:.0f}",
            f"{point['peak_rss_mb']:.0f}",
        )
    output().print(table)


def print_peers(result: Mapping[str, Any]) -> None:
    """Print the seconds per row of the native engine and its peers, and the ratios."""
    numbers = [Column(name, justify="right") for name in ("seconds a row", "times ours", "batch")]
    table = Table("", *numbers, box=None, pad_edge=False)
    size = str(result["settings"]["batch_size"])
    table.add_row("native engine", _seconds(result["seconds_per_row"]), "1.0", size)
    for name, peer in result["peers"].items():
        times = f"{1 / result[f'ratio_to_{name}']:.1f}"
        table.add_row(name, _seconds(peer["seconds_per_row"]), times, str(peer["batch_size"]))
    console = output()
    console.print(table)
    _print_settings(console, result["settings"])


def print_pipeline(result: Mapping[str, Any]) -> None:
    """Print what each run used: CPU seconds, by part, and memory; then what a further row costs."""
    others = ("load", "worker", "helpers", "server")
    heads = ("rows", "CPU s", "parent", *others, "µs/row", "MB parent")
    numbers = [Column(name, justify="right") for name in (*heads, "MB worker", "MB report")]
    table = Table("run", *numbers, box=None, pad_edge=False)
    for point in result["points"]:
        parent = sum(point[part] for part in PARENT)
        seconds = (point["cpu_seconds"], parent, *(point[part] for part in others))
        sizes = (point["parent_mb"], point["worker_mb"])
        table.add_row(
            point["run"],
            f"{point['rows']:,}",
            *(f"{value:.1f}" for value in seconds),
            f"{point['us_a_row']:.0f}",
            *(f"{size:.0f}" for size in sizes),
            f"{point['report_mb']:.1f}",
        )
    console = output()
    console.print(table)
    _print_added(console, result["points"])


def _print_added(console: Console, points: Sequence[Mapping[str, Any]]) -> None:
    added = [point for point in points if point["added_us_a_row"] is not None]
    if not added:
        return
    names = list(added[0]["added_us_a_row"])
    columns = [Column(name.replace("cpu_seconds", "all"), justify="right") for name in names]
    table = Table("µs of a further row", Column("rows", justify="right"), *columns, box=None)
    table.pad_edge = False
    for point in added:
        values = (f"{point['added_us_a_row'][name]:.1f}" for name in names)
        table.add_row(point["run"], f"{point['rows']:,}", *values)
    console.print()
    console.print(table)


def _print_settings(console: Console, settings: Mapping[str, Any]) -> None:
    lengths = f"{settings['length']} tokens" + (" on average" if settings["uneven"] else "")
    text = (
        f"{settings['rows']} rows of {lengths}, {settings['beams']} beams, {settings['steps']}"
        f" steps, {settings['threads']} threads, {settings['processor']}"
    )
    console.print(Text(visible(text)), soft_wrap=True)
