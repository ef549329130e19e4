"""What a run shows on its page in Prefect's UI, and what it tells Prefect's automations.

All of it is for people: a server that is away costs the page something, and never the run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.events import emit_event
from prefect.states import Completed

from tasks.jobs import Prediction
from tasks.journal import JOURNAL_FILE, read_journal
from tasks.outputs import PREDICTIONS_FILE
from tasks.plan import Plan
from tasks.progress import Pace
from tasks.runs import REPORT_FILE, Run
from tasks.summary import as_markdown, count_outcomes, count_rows, count_shards, tabulate_shards
from tasks.tables import read_places, spaced

logger = logging.getLogger("wenti.run_page")

PARTIAL_EVENT = "wenti.run.partial"
UPDATE_SECONDS = 1.0
SAMPLES = 10


class RowsBar(Pace):
    """A progress bar over the rows to generate, with rows a second and the time left."""

    def __init__(self) -> None:
        super().__init__()
        self._artifact: UUID | None = None
        self._shown = 0.0

    def start(self, rows: int) -> None:
        """Show the bar."""
        super().start(rows)
        with _server_may_be_away():
            self._artifact = cast(
                UUID, create_progress_artifact(0.0, description=f"Predict: {rows:,} rows")
            )

    def show(self) -> None:
        """Move the bar to where the rows are, if they went on."""
        if self._artifact is None or self.percent == self._shown:
            return
        self._shown = self.percent
        with _server_may_be_away():
            update_progress_artifact(self._artifact, self._shown, f"Predict: {self}")


@contextmanager
def rows_bar() -> Iterator[RowsBar]:
    """Give a progress bar that a thread of its own moves, so that no batch waits for the server."""
    bar, ended = RowsBar(), threading.Event()

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
        bar.show()


def show_shards(run: Run, prediction: Prediction) -> None:
    """Show the table of the shards."""
    histories = read_journal(run.folder / JOURNAL_FILE)
    with _server_may_be_away():
        create_table_artifact(
            tabulate_shards(prediction.outcomes, histories),
            key="wenti-shards",
            description=count_outcomes(prediction),
        )


def show_results(plan: Plan, run: Run, metrics: dict[str, Any]) -> None:
    """Show figures, samples, settings and where the results are; tell if they are partial."""
    places = spaced(metrics["predictions"], SAMPLES)
    samples = list(read_places(run.folder / PREDICTIONS_FILE, places))
    with _server_may_be_away():
        create_markdown_artifact(
            as_markdown(metrics, samples, plan.settings, run.folder.absolute()),
            key="wenti-summary",
            description=count_rows(metrics),
        )
        if plan.settings.store.url is not None:
            report = f"{plan.settings.store.url.rstrip('/')}/runs/{run.folder.name}/{REPORT_FILE}"
            create_link_artifact(report, REPORT_FILE, key="wenti-report", description="The report")
    if metrics["partial"]:
        emit_event(
            PARTIAL_EVENT,
            resource={"prefect.resource.id": f"wenti.run.{run.folder.name}"},
            payload={"folder": str(run.folder.absolute()), "shards": count_shards(metrics)},
        )


def final_state(run: Run, metrics: dict[str, Any]) -> Any:  # noqa: ANN401 see below
    """Give the state that a run ends in: it says what was reused and made, and what is missing.

    Who called the flow gets the data in it: Prefect unwraps a state that a flow returns.
    """
    return Completed(
        name="Partial" if metrics["partial"] else None,
        message=count_shards(metrics),
        data={"folder": str(run.folder), "metrics": metrics},
    )


@contextmanager
def _server_may_be_away() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        logger.warning("the run's page in Prefect lacks something: %s", error)
