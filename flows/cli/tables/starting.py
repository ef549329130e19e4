"""What `wenti init` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from flows.cli.console import output
from tasks.escaping import visible
from tasks.scaffold.job import PREFECT_YAML, Job


def print_job(job: Job, written: Sequence[Path]) -> None:
    """Print what was written, what the passages are like, and what to do next."""
    lines = [("wrote", str(path)) for path in written]
    if PREFECT_YAML not in written:
        remedy = f"to serve {job.name}, add a deployment with `config: {job.name}`"
        lines.append(("kept", f"{PREFECT_YAML}, which was there; {remedy}"))
    lines += _tell_passages(job)
    lines.append(("next", f"wenti doctor {job.name}; then wenti run {job.name}"))
    table = Table.grid(padding=(0, 2))
    for name, text in lines:
        table.add_row(Text(name), Text(visible(text)))
    output().print(table)


def _tell_passages(job: Job) -> list[tuple[str, str]]:
    sample = job.sample
    if sample is None:
        return [("edit", f"{job.config}: dataset.predict_file, and the model if you have one")]
    if not sample.is_usable:
        names = ", ".join(sample.names)
        todo = f"name the fields of the passage and the answer in {job.config}: dataset.fields"
        return [("passages", f"the fields are {names}"), ("edit", todo)]
    return [("passages", sample.read), ("rows", sample.describe_rejects())]
