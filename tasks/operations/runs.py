"""The list of a store's runs: how each ended, and its main figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.errors import StoreCorruptionError
from tasks.runs.find import get_state, is_run_of, list_runs
from tasks.runs.metrics import read_metrics
from tasks.runs.state import RunState
from tasks.store.layout import Store

DAMAGED = "damaged"


@dataclass(frozen=True)
class RunSummary:
    """A run in a list.

    Attributes:
        state: how it goes or how it ended; `damaged` if its run.json cannot be read.
        rows: rows of its input; None, like the other figures, if it is not complete.
        rejects: rows without a question.
        bleu_4: 0 to 100; None without references.
    """

    state: RunState
    rows: int | None = None
    rejects: int | None = None
    bleu_4: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the content as plain JSON types."""
        figures = {"rows": self.rows, "rejects": self.rejects, "bleu_4": self.bleu_4}
        return {**asdict(self.state), **figures}


def summarize_runs(store: Store, most: int, config: Path | None = None) -> list[RunSummary]:
    """Return the newest runs of a store, newest first, at most `most`.

    With `config`, only the runs of this config file. Runs of another user, which this one may not
    read, are left out.
    """
    return list(islice(_summarize(store, config), most))


def _summarize(store: Store, config: Path | None) -> Iterator[RunSummary]:
    for folder in reversed(list_runs(store)):
        if config is not None and not is_run_of(folder, config):
            continue
        try:
            state = get_state(folder)
        except StoreCorruptionError as error:
            state = RunState(folder.name, DAMAGED, "", error=str(error))
        metrics = read_metrics(folder)
        figures = (metrics.get(name) for name in ("rows_in", "rejects", "bleu_4"))
        yield RunSummary(state, *figures)
