"""What `wenti trend` prints: a table with one line for each run of a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Column, Table
from rich.text import Text

from flows.cli.console import output
from flows.summary import tabulate_group_trend, tabulate_trend
from tasks.addresses import absolute_place
from tasks.escaping import visible
from tasks.report.trend.history import RunFigures
from tasks.store.layout import Store

STYLES = {"suspect": "yellow", "partial": "yellow", "failed": "red", "killed": "red"}
CHANGED = "changed"
FIRST_TO_GO = ("exact", "generated", "duplicate", "unfinished", "BLEU-4", "seconds")
"""The columns that a narrow terminal has no room for, in this order."""
LEFT = ("run", "state", "kind", "group")
"""The columns that begin at the left."""
GAP = 2  # between two columns
MOST_GROUPS, MOST_RUNS = 10, 3
"""Of the table of groups."""

Row = Mapping[str, str]


def print_trend(history: Sequence[RunFigures], config: Path, store: Store) -> None:
    """Print the runs of a config, what was changed before which of them, and their groups."""
    console, rows = output(), tabulate_trend(history)
    if not rows:
        where = f"there are no runs of {config} in {absolute_place(store.root)}"
        console.print(Text(visible(where)), soft_wrap=True)
        return
    changes = {row["run"]: row[CHANGED] for row in rows if row.get(CHANGED)}
    rows = [{**row, "run": row["run"] + " *" * (row["run"] in changes)} for row in rows]
    names = fit(rows, console.width)
    console.print(_tabulate(rows, names))
    if left_out := [name for name in rows[0] if name not in (*names, CHANGED)]:
        console.print(f"no room for {', '.join(left_out)}; --json has all", highlight=False)
    if changes:
        console.print("\n* changed since the run before:")
    for run, text in changes.items():
        console.print(Text(visible(f"  {run}  {text}")), soft_wrap=True)
    if groups := tabulate_group_trend(history, MOST_GROUPS, MOST_RUNS):
        console.print("\nflagged questions of the largest groups, in the newest runs:\n")
        console.print(_tabulate(groups, list(groups[0])))


def fit(rows: Sequence[Row], width: int) -> list[str]:
    """Return the names of the columns that are shown, if the terminal is `width` characters wide.

    Of very narrow ones, those that must be shown may be wider.
    """
    names = [name for name in rows[0] if name != CHANGED]
    widths = {name: max(map(len, (name, *(row[name] for row in rows)))) for name in names}
    for name in FIRST_TO_GO:
        if sum(widths[one] + GAP for one in names) - GAP <= width:
            break
        names = [one for one in names if one != name]
    return names


def _tabulate(rows: Sequence[Row], names: Sequence[str]) -> Table:
    columns = [
        Column(name, justify="left" if name in LEFT else "right", no_wrap=name != "group")
        for name in names
    ]
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        style = STYLES.get(row.get("state", ""))
        table.add_row(*(Text(row[name]) for name in names), style=style)
    return table
