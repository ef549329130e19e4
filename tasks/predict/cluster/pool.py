"""The places of a run on a Ray cluster: a `tasks.predict.workers.base.ShardPool`."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from contextlib import nullcontext
from typing import Any

from tasks.cluster.client import ClusterClient, find_variables
from tasks.cluster.messages import ClusterOrder, Done, Failed
from tasks.plan.plan import Plan
from tasks.predict.cluster.place import BatchFailed, MadeShard, PlaceOrder, RowsDone, ShardWork
from tasks.predict.jobs import ShardJob, StageJob
from tasks.predict.known_rows import KnownRows
from tasks.predict.progress import Progress
from tasks.predict.shards import ShardDetails
from tasks.predict.workers.pool import ClaimingPool
from tasks.runs.run import Run
from tasks.store.claims import Made
from tasks.store.manifest import Manifest

logger = logging.getLogger("wenti.pool")

LEAST_THREADS = 200
"""So many places, or twice as many as there were at first, are used if nodes join."""


class ClusterPool(ClaimingPool):
    """Makes shards on the places of a cluster, as many at once as there are.

    Args:
        plan: whose export is loaded there.
        stage: of which the shards are.
        shards: how many there are to make.
        run: whose claims and journal are used.
        progress: hears of every row that is done.
        is_forced: make shards even if the store has them.
        known: the rows that need no generating; None: every row is generated.

    Raises:
        ClusterError: the cluster cannot be used.
        ModelError: a file of the tokenizer cannot be read, or has changed.
    """

    def __init__(
        self,
        plan: Plan,
        stage: StageJob,
        shards: int,
        run: Run,
        progress: Progress,
        is_forced: bool = False,
        known: KnownRows | None = None,
    ) -> None:
        super().__init__(run, is_forced, known)
        settings, self._progress = plan.settings, progress
        order = ClusterOrder(
            settings=settings.cluster,
            device_kind=settings.predict.device_kind,
            cpu_threads=settings.predict.cpu_threads,
            factory=PlaceOrder.from_plan(plan, stage, is_forced),
            most_places=shards,
            variables=find_variables(),
        )
        self._figures: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._client = ClusterClient(order)
        nodes = self._client.connected.nodes
        logger.info("%d nodes: %s", len(nodes), "; ".join(map(str, nodes)))

    @property
    def size(self) -> int:
        """How many shards can be made at once, if nodes join."""
        return max(LEAST_THREADS, 2 * self._client.connected.places)

    def close(self) -> None:
        """End the places, and the waiting for other runs."""
        self._is_closed = True
        self._client.close()

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return what each place did and used, by its name, for metrics.json."""
        with self._lock:
            return dict(sorted(self._figures.items()))

    def generate(self, job: ShardJob, wait: bool) -> Made | None:
        """Return the job's shard, made on the next idle place unless the store has it.

        See `tasks.predict.workers.base.ShardPool` for what it raises.
        """
        with nullcontext() if wait else self._client.turn():
            return super().generate(job, wait)

    def _make(self, job: ShardJob) -> Manifest:
        ear = Ear(job, self._run, self._progress)
        try:
            outcome = self._client.do(ShardWork(job.shard, self._find_known(job)), ear.hear)
        except BaseException:
            ear.end(0)
            raise
        if isinstance(outcome, Failed):
            ear.end(0)
            self._run.journal.failed(job.shard.index, outcome.place, outcome.error)
            raise outcome.error
        ear.end(job.shard.rows)
        return self._note_done(job, outcome)

    def _note_done(self, job: ShardJob, outcome: Done) -> Manifest:
        if not isinstance(outcome.answer, MadeShard):
            raise TypeError(f"no place answers with a {type(outcome.answer).__name__}")
        made, place = outcome.answer, outcome.place
        rows = job.shard.rows - ShardDetails.of(made.manifest).rows_reused
        with self._lock:
            before = self._figures.get(place, {"shards": 0, "rows": 0, "busy_seconds": 0.0})
            self._figures[place] = {
                "shards": before["shards"] + 1,
                "rows": before["rows"] + rows,
                "busy_seconds": round(before["busy_seconds"] + made.seconds, 2),
                **made.usage,
            }
        self._note_made(job, place, made.seconds, made.manifest)
        return made.manifest


class Ear:
    """Hears of the rows and failures of one shard, at which two places may be at work."""

    def __init__(self, job: ShardJob, run: Run, progress: Progress) -> None:
        self._job, self._run, self._progress = job, run, progress
        self._rows: Counter[int] = Counter()
        self._shown = 0
        self._has_ended = False
        self._lock = threading.Lock()

    def hear(self, attempt: int, place: str, event: object) -> None:
        """Take what a place tells of its attempt; what comes after the end does not count."""
        with self._lock:
            if self._has_ended:
                return
            match event:
                case RowsDone(rows):
                    self._rows[attempt] += rows
                    self._show(max(self._rows.values()))
                case BatchFailed(error):
                    self._run.journal.failed(self._job.shard.index, place, error)

    def end(self, rows: int) -> None:
        """Count so many rows of the shard, whatever was heard."""
        with self._lock:
            self._has_ended = True
            self._show(rows)

    def _show(self, rows: int) -> None:
        if rows != self._shown:
            self._progress.advance(rows - self._shown)
            self._shown = rows
