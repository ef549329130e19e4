"""What `wenti show` prints: rows of a run, and its rejects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from flows.cli.console import output
from tasks.escaping import visible
from tasks.load.rules import describe_counts
from tasks.operations.rows import Rejects, find_original

COLUMNS = ("row", "line", "id", "reason", "detail")
LABELS = {
    "row": "row",
    "context": "passage",
    "answer": "answer",
    "question": "question",
    "score": "score",
    "reference": "reference",
    "cut": "cut off",
}


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of a run, one block per row."""
    console = output()
    for row in rows:
        grid = Table.grid("", Column(overflow="fold"), padding=(0, 2))
        for name, label in LABELS.items():
            if row.get(name) is not None:  # runs of older versions have no column `cut`
                style = "bold" if name == "question" else None
                grid.add_row(Text(label), Text(visible(_show(row[name]))), style=style)
        if not row.get("is_finished", True):  # runs of older versions have no such column
            grid.add_row(Text("not finished"), Text(f"after {row['token_count']} tokens"))
        quality = row.get("quality", {})
        if flags := quality.get("flags"):
            grid.add_row("flags", ", ".join(flags))
        if (question := quality.get("original_question")) is not None:
            text = f"row {find_original(quality)}: {question}"
            grid.add_row("original", Text(visible(text)))
        console.print(grid)
        console.print()


def _show(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def print_rejects(rejects: Rejects) -> None:
    """Print how many rows were rejected for which reason, and some of them."""
    console = output()
    total = sum(rejects.reasons.values())
    if not total:
        console.print("no row was rejected")
        return
    text = f"{total} rejected: {describe_counts(rejects.reasons)}"
    console.print(Text(visible(text)), soft_wrap=True)
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for one in rejects.rows:
        cells = ("" if one[name] is None else str(one[name]) for name in COLUMNS)
        table.add_row(*(Text(visible(cell)) for cell in cells))
    console.print(table)
