"""What `wenti export-results` prints."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from flows.cli.console import output
from tasks.conversion.convert import Converted
from tasks.escaping import visible


def print_converted(converted: Converted) -> None:
    """Print where the file is, what is in it, and what is not."""
    tally, missing = converted.tally, converted.record.rows_missing
    lines = {"wrote": str(converted.path), "questions": f"{tally.questions} of {tally.rows} rows"}
    if tally.left_out:
        first = ", ".join(map(str, tally.first_left_out))
        what = "rows, because their answer is not in their passage"
        some = "they are" if tally.left_out == len(tally.first_left_out) else "the first are"
        lines["left out"] = f"{tally.left_out} {what}; {some} {first}"
    if missing:
        lines["partial"] = f"the run lacks {missing} rows of shards that were not made"
    if converted.record.is_made_up:
        lines["fake"] = "the fake engine made these questions up"
    table = Table.grid(padding=(0, 2))
    for name, text in lines.items():
        table.add_row(Text(name), Text(visible(text)))
    output().print(table)
