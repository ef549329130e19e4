"""What a run shows on its page in Prefect's UI, and the events it emits for automations.

All of it is informational: if the server is unreachable, or the store cannot be read, the page is
incomplete and the run continues.
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

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.events import emit_event
from prefect.utilities.slugify import slugify

from flows.run_context import job_name
from flows.server.settings import few_retries
from flows.summary import (
    as_markdown,
    count_outcomes,
    count_rows,
    count_shards,
    tabulate_groups,
    tabulate_shards,
    tabulate_trend,
    tell_rejects,
    tell_suspicion,
)
from tasks.addresses import absolute_place
from tasks.columns.join import own_columns
from tasks.errors import StorageError, StoreCorruptionError
from tasks.escaping import visible
from tasks.outages import tolerate_outage
from tasks.plan.plan import Plan
from tasks.predict.jobs import Prediction
from tasks.predict.progress import Pace
from tasks.report.facts import has_many_rejects
from tasks.report.trend.history import read_history
from tasks.runs.find import store_of
from tasks.runs.journal import JOURNAL_FILE, read_journal
from tasks.runs.results import REPORT_FILE, find_predictions
from tasks.runs.run import Run
from tasks.runs.state import is_suspect
from tasks.store.parted.places import read_places
from tasks.store.tables import spaced

logger = logging.getLogger("wenti.run_page")

PARTIAL_EVENT = "wenti.run.partial"
SUSPECT_EVENT = "wenti.run.suspect"
MANY_REJECTS_EVENT = "wenti.run.many_rejects"
UPDATE_SECONDS = 5.0
# Of a call to a server that is away. What waits for the answer is the work or, at the end, the
# report of the run's state, which waits some minutes itself.
RETRIES = 1
RETRIES_AT_THE_END = 3
SAMPLES = 10
TREND_RUNS = 100


class RowsArtifact:
    """A progress artifact for the rows to generate, with rows per second and the time left."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pace = Pace()
        self._artifact: UUID | None = None
        self._shown_percent = 0.0
        self._reused = 0  # rows

    def follow(self, pace: Pace) -> None:
        """Store the progress to be shown; the first call creates the artifact."""
        self._pace = pace
        if pace.batches == 0:
            self._reused = self._count_kept()
            with _page_outage(RETRIES):
                key, description = _key("progress", self._run), f"Predict: {pace.rows:,} rows"
                self._artifact = cast(UUID, create_progress_artifact(0.0, key, description))

    def update(self) -> None:
        """Update the artifact if the progress has changed since the last update."""
        pace = self._pace
        if pace.percent != self._shown_percent:
            self._shown_percent = pace.percent
            self._update(min(pace.percent, 100.0), f"Predict: {pace}")

    def end(self) -> None:
        """Show the final number of rows, without those of failed attempts."""
        with _page_outage(RETRIES):
            rows, kept = self._pace.rows, self._count_kept() - self._reused
            if kept == self._pace.done == rows:
                self.update()
            elif rows:
                description = f"Predict: ended after {kept:,} of {rows:,} rows"
                self._update(100 * kept / rows, description)

    def _update(self, percent: float, description: str) -> None:
        if self._artifact is not None:
            with _page_outage(RETRIES):
                update_progress_artifact(self._artifact, percent, description)

    def _count_kept(self) -> int:
        shards = read_journal(self._run.folder / JOURNAL_FILE).values()
        kept = (shard for shard in shards if shard.state != "failed")
        return sum((shard.rows or 0) + (shard.rejects or 0) for shard in kept)


@contextmanager
def rows_artifact(run: Run) -> Iterator[RowsArtifact]:
    """Yield an artifact that a separate thread updates, so that no batch waits for the server."""
    artifact, ended = RowsArtifact(run), threading.Event()

    def update() -> None:
        while not ended.wait(UPDATE_SECONDS):
            artifact.update()

    thread = threading.Thread(target=copy_context().run, args=(update,), daemon=True)
    thread.start()
    try:
        yield artifact
    finally:
        ended.set()
        thread.join()
        artifact.end()


def show_shards(run: Run, prediction: Prediction) -> None:
    """Show the table of the shards."""
    with _page_outage():
        histories = read_journal(run.folder / JOURNAL_FILE)
        create_table_artifact(
            tabulate_shards(prediction.outcomes, histories),
            key=_key("shards", run),
            description=f"{count_outcomes(prediction)} (run {run.folder.name})",
        )


def show_trend(run: Run) -> None:
    """Show the table of the newest runs of this run's config, oldest first."""
    if run.record.config_file is None:
        return
    config = Path(run.record.config_file)
    with _page_outage():
        history = read_history(store_of(run.folder), config, TREND_RUNS)
        create_table_artifact(
            tabulate_trend(history),
            key=_key("trend", run),
            description=f"The last {len(history)} runs of {config.stem}",
        )


def show_results(plan: Plan, run: Run, metrics: dict[str, Any]) -> None:
    """Show metrics, samples, settings and the results folder; emit events for what is amiss."""
    places = spaced(metrics["predictions"], SAMPLES)
    predictions = find_predictions(run.folder)
    with _page_outage():
        samples = list(read_places(predictions, places, own_columns(predictions)))
        create_markdown_artifact(
            as_markdown(metrics, samples, run.record, absolute_place(run.folder)),
            key=_key("summary", run),
            description=count_rows(metrics),
        )
        if groups := metrics["groups"]:
            create_table_artifact(
                tabulate_groups(groups),
                key=_key("groups", run),
                description=f"Groups of {', '.join(groups['columns'])} (run {run.folder.name})",
            )
        if plan.settings.store.url is not None:
            report = f"{plan.settings.store.url.rstrip('/')}/runs/{run.folder.name}/{REPORT_FILE}"
            text = f"The report of run {run.folder.name}"
            create_link_artifact(report, REPORT_FILE, key=_key("report", run), description=text)
    events = {
        SUSPECT_EVENT: is_suspect(metrics),
        PARTIAL_EVENT: metrics["partial"],
        MANY_REJECTS_EVENT: has_many_rejects(metrics),
    }
    for name in (name for name, is_so in events.items() if is_so):
        emit_event(
            name,
            resource={"prefect.resource.id": f"wenti.run.{run.folder.name}"},
            payload={
                "folder": visible(str(absolute_place(run.folder))),
                "shards": count_shards(metrics),
                "rejects": tell_rejects(metrics),
                "reject_share": metrics["reject_share"],
                "suspicion": tell_suspicion(metrics).get("suspect", ""),
            },
        )


def _key(kind: str, run: Run) -> str:
    """Return the key of an artifact, such as `wenti-summary-nightly`.

    There is one key per deployment, or config: the UI shows all artifacts of a key as a history, so
    that the nightly runs of one job can be compared.
    """
    job = job_name() or Path(run.record.config_file or "").stem
    return slugify(f"wenti {kind} {job}")


@contextmanager
def _page_outage(retries: int = RETRIES_AT_THE_END) -> Iterator[None]:
    """Tolerate that the server is away, without waiting for it as long as Prefect does.

    Nor does a run fail that is complete, if what is to be shown cannot be read from the store.
    """
    consequence = "the run's page in Prefect is incomplete"
    with (
        tolerate_outage(logger, consequence, StorageError, StoreCorruptionError),
        few_retries(retries),
    ):
        yield
