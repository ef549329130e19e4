"""What a run shows on its page in Prefect's UI, and what it tells Prefect's automations.

All of it is for people: a server that is away costs the page something, and never the run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed, Failed
from prefect.utilities.slugify import slugify

from flows.summary import as_markdown, count_outcomes, count_rows, count_shards, tabulate_shards
from tasks.errors import WentiError
from tasks.plan.plan import Plan
from tasks.predict.jobs import Prediction
from tasks.predict.progress import Pace
from tasks.runs.journal import JOURNAL_FILE, read_journal
from tasks.runs.results import PREDICTIONS_FILE, REPORT_FILE
from tasks.runs.run import Run
from tasks.store.tables import read_places, spaced

logger = logging.getLogger("wenti.run_page")

PARTIAL_EVENT = "wenti.run.partial"
UPDATE_SECONDS = 1.0
SAMPLES = 10


class RowsBar(Pace):
    """A progress bar over the rows to generate, with rows a second and the time left."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._artifact: UUID | None = None
        self._shown = 0.0
        self._reused = 0  # rows

    def start(self, rows: int) -> None:
        """Show the bar."""
        super().start(rows)
        self._reused = self._count_kept()
        with _server_may_be_away():
            key, told = _key("progress", self._run), f"Predict: {rows:,} rows"
            self._artifact = cast(UUID, create_progress_artifact(0.0, key, told))

    def show(self) -> None:
        """Move the bar to where the rows are, if they went on."""
        if self.percent != self._shown:
            self._update(min(self.percent, 100.0), f"Predict: {self}")

    def end(self) -> None:
        """Show how many rows there are now: those of attempts that failed are not, after all."""
        kept = self._count_kept() - self._reused
        if kept == self._done == self._rows:
            self.show()
        elif self._rows:
            text = f"Predict: ended after {kept:,} of {self._rows:,} rows"
            self._update(100 * kept / self._rows, text)

    def _update(self, percent: float, text: str) -> None:
        if self._artifact is None:
            return
        self._shown = self.percent
        with _server_may_be_away():
            update_progress_artifact(self._artifact, percent, text)

    def _count_kept(self) -> int:
        shards = read_journal(self._run.folder / JOURNAL_FILE).values()
        kept = (shard for shard in shards if shard.state != "failed")
        return sum((shard.rows or 0) + (shard.rejects or 0) for shard in kept)


@contextmanager
def rows_bar(run: Run) -> Iterator[RowsBar]:
    """Give a progress bar that a thread of its own moves, so that no batch waits for the server."""
    bar, ended = RowsBar(run), threading.Event()

    def move() -> None:
        while not ended.wait(UPDATE_SECONDS):
            bar.show()

    thread = threading.Thread(target=copy_context().run, args=(move,), daemon=True)
    thread.start()
    try:
        yield bar
    finally:
        ended.set()
        thread.join()
        bar.end()


def show_shards(run: Run, prediction: Prediction) -> None:
    """Show the table of the shards."""
    histories = read_journal(run.folder / JOURNAL_FILE)
    with _server_may_be_away():
        create_table_artifact(
            tabulate_shards(prediction.outcomes, histories),
            key=_key("shards", run),
            description=f"{count_outcomes(prediction)} (run {run.folder.name})",
        )


def show_results(plan: Plan, run: Run, metrics: dict[str, Any]) -> None:
    """Show figures, samples, settings and where the results are; tell if they are partial."""
    places = spaced(metrics["predictions"], SAMPLES)
    samples = list(read_places(run.folder / PREDICTIONS_FILE, places))
    with _server_may_be_away():
        create_markdown_artifact(
            as_markdown(metrics, samples, run.record, Path(run.folder).absolute()),
            key=_key("summary", run),
            description=count_rows(metrics),
        )
        if plan.settings.store.url is not None:
            report = f"{plan.settings.store.url.rstrip('/')}/runs/{run.folder.name}/{REPORT_FILE}"
            told = f"The report of run {run.folder.name}"
            create_link_artifact(report, REPORT_FILE, key=_key("report", run), description=told)
    if metrics["partial"]:
        emit_event(
            PARTIAL_EVENT,
            resource={"prefect.resource.id": f"wenti.run.{run.folder.name}"},
            payload={"folder": str(Path(run.folder).absolute()), "shards": count_shards(metrics)},
        )


def final_state(run: Run, metrics: dict[str, Any]) -> dict[str, Any]:
    """Give the state that a run ends in: it says what was reused and made, and what is missing.

    Who called the flow gets the data in it: Prefect unwraps a state that a flow returns.
    """
    state: State[dict[str, Any]] = Completed(
        name="Partial" if metrics["partial"] else None,
        message=f"{count_shards(metrics)} (run {run.folder.name})",
        data={"folder": str(run.folder), "metrics": metrics},
    )
    return cast(dict[str, Any], state)


def failed_state(error: WentiError) -> dict[str, Any]:
    """Give the state of a run that an error has ended: it says what the command line says.

    Who called the flow gets the error raised. Raised in the flow, it would be told with Prefect's
    own words before it.
    """
    get_run_logger().error("%s", error)
    return cast(dict[str, Any], Failed(message=str(error), data=error))


def _key(kind: str, run: Run) -> str:
    """Give the key of an artifact, `wenti-summary-demo`: the page of a key in the UI is a history.

    One for each config, because it is the nights of one job that people look back on and compare.
    """
    config = Path(run.record.config_file or "").stem
    return slugify(f"wenti {kind} {config}")


@contextmanager
def _server_may_be_away() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        logger.warning("the run's page in Prefect lacks something: %s", error)
