"""What `wenti compare` prints: the differences, the metrics, changed questions side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import SequenceMatcher
from typing import Any

from rich.cells import chop_cells
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from flows.cli.console import output
from tasks.escaping import visible
from tasks.evaluation.bootstrap import RESAMPLES
from tasks.evaluation.scores import METRIC_NAMES
from tasks.operations.compare import Comparison, Metric
from tasks.operations.pairing import Kind
from tasks.quality.flags import FLAGS

FEW_ROWS = 30
LABEL_WIDTH = 11  # with the space after it
KINDS = {
    Kind.SAME: "with the same question",
    Kind.CHANGED: "with a different question",
    Kind.OTHER_INPUT: "with a different passage or answer under the same id, not compared",
    Kind.REJECTED_IN_A: "rejected in A only",
    Kind.REJECTED_IN_B: "rejected in B only",
    Kind.REJECTED_IN_BOTH: "rejected in both",
    Kind.ONLY_IN_A: "in A only",
    Kind.ONLY_IN_B: "in B only",
}


@contextmanager
def waiting() -> Iterator[None]:
    """Show a spinner on standard error while the block runs, if that is a terminal."""
    with Console(stderr=True).status("scoring both runs …"):
        yield


def print_comparison(comparison: Comparison) -> None:
    """Print the two runs and what differs, then the metrics, then questions that changed."""
    console = output()
    console.print(_overview(comparison))
    console.print()
    if comparison.metrics:
        console.print(_tabulate(comparison.metrics))
        console.print()
    if flags := _tabulate_flags(comparison.flags["a"], comparison.flags["b"]):
        console.print(flags)
        console.print()
    for sentence in _explain(comparison):
        console.print(sentence, highlight=False)
    for question in comparison.questions:
        console.print()
        console.print(_show(question, console.width))


def _overview(comparison: Comparison) -> Table:
    grid = Table.grid("", Column(overflow="fold"), padding=(0, 2))
    same = comparison.a["folder"] == comparison.b["folder"]
    _add(grid, "A", comparison.a["run_id"])
    _add(grid, "B", comparison.b["run_id"] + (", the same run" if same else ""))
    for number, cause in enumerate(_causes(comparison)):
        _add(grid, "" if number else "A → B", cause)
    counted = {kind: comparison.rows[kind] for kind in KINDS if comparison.rows[kind]}
    width = len(str(max(counted.values(), default=0)))
    for number, (kind, rows) in enumerate(counted.items()):
        reasons = ", ".join(f"{why} {n}" for why, n in comparison.reasons.get(kind, {}).items())
        text = f"{rows:>{width}} {KINDS[kind]}" + (f": {reasons}" if reasons else "")
        _add(grid, "" if number else "rows", text)
    return grid


def _causes(comparison: Comparison) -> list[str]:
    if comparison.causes is None:
        return ["unknown: one of the runs was made by an older version of Wenti"]
    return comparison.causes or ["nothing: the same settings, passages, model and versions"]


def _tabulate(metrics: list[Metric]) -> Table:
    numbers = [Column(name, justify="right") for name in ("A", "B", "B − A", "95 % interval")]
    table = Table("metric", *numbers, "", box=None, pad_edge=False)
    for one in metrics:
        interval = f"{one.low:+.2f} … {one.high:+.2f}"
        scores = (f"{one.a:.2f}", f"{one.b:.2f}", f"{one.difference:+.2f}")
        table.add_row(METRIC_NAMES[one.name], *scores, interval, one.verdict)
    return table


def _tabulate_flags(a: Mapping[str, int] | None, b: Mapping[str, int] | None) -> Table | None:
    """Return the flags that any question of a run has; None if an older version made a run."""
    if a is None or b is None:
        return None
    columns = [Column(name, justify="right") for name in ("A", "", "B", "", "B − A")]
    table = Table("flag", *columns, box=None, pad_edge=False)
    for name in FLAGS:
        if a[name] or b[name]:
            shares = [run[name] / run["rows"] if run["rows"] else 0.0 for run in (a, b)]
            counts = zip((a[name], b[name]), shares, strict=True)
            cells = [cell for count, share in counts for cell in (str(count), f"{share:.1%}")]
            table.add_row(name, *cells, f"{shares[1] - shares[0]:+.1%}")
    return table if table.row_count else None


def _explain(comparison: Comparison) -> Iterator[str]:
    """Yield sentences on how the metrics were computed and what is not shown."""
    rows, changed = comparison.rows, comparison.rows[Kind.CHANGED]
    if comparison.metrics:
        yield (
            f"Over {comparison.scored} rows that have the same reference in both runs; intervals "
            f"from {RESAMPLES} paired bootstrap resamples: if one contains 0, the difference may "
            "be chance."
        )
        if comparison.scored < FEW_ROWS:
            yield "With so few rows, the intervals are narrower than they should be."
    elif rows[Kind.SAME] + changed:
        yield "There are no metrics: no row has the same reference in both runs."
    else:
        yield "There is nothing to compare: no row has questions in both runs."
    if changed and comparison.questions:
        order = "largest gains and losses first" if comparison.metrics else "in input order"
        yield f"\n{len(comparison.questions)} of {changed} changed questions, {order}:"
    elif rows[Kind.SAME] and not changed:
        yield "No question changed."


def _show(question: Mapping[str, Any], width: int) -> Table:
    """Return a changed question as a small block, with the differences in color."""
    grid = Table.grid("", Column(overflow="fold"), padding=(0, 2))
    width -= LABEL_WIDTH  # in cells; two lines have room for that many Chinese characters
    passage = shorten_around(question["context"], question["answer"], width)
    _add(grid, "id", question["id"] + _gain(question))
    # Rich would break the line at every space, even after a few Chinese characters.
    _add(grid, "passage", "\n".join(chop_cells(visible(passage), width)))
    _add(grid, "answer", question["answer"])
    if question["reference"] is not None:
        _add(grid, "reference", question["reference"])
    a, b = visible(question["question_a"]), visible(question["question_b"])
    grid.add_row("A", _mark(a, b, "bold red"))
    grid.add_row("B", _mark(b, a, "bold green"))
    return grid


def shorten_around(text: str, middle: str, longest: int) -> str:
    """Return a text on one line, cut to at most `longest` characters around `middle`."""
    line, middle = " ".join(text.split()), " ".join(middle.split())
    if len(line) <= longest:
        return line
    spare = max(longest - 2 - len(middle), 0)
    start = min(max(line.find(middle) - spare // 2, 0), len(line) - (longest - 2))
    end = start + longest - 2
    return "…" * (start > 0) + line[start:end] + "…" * (end < len(line))


def _gain(question: Mapping[str, Any]) -> str:
    a, b = question["bleu_a"], question["bleu_b"]
    return "" if a is None else f"  BLEU {a:.1f} → {b:.1f} ({b - a:+.1f})"


def _mark(text: str, other: str, style: str) -> Text:
    """Return a text in which the parts that `other` does not have are styled."""
    marked = Text(text)
    for what, start, end, *_ in SequenceMatcher(None, text, other, False).get_opcodes():
        if what != "equal":
            marked.stylize(style, start, end)
    return marked


def _add(grid: Table, label: str, text: str) -> None:
    grid.add_row(label, Text(visible(text)))
