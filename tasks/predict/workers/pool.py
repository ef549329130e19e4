"""The workers of a run: an idle one gets the next shard."""

from __future__ import annotations

import logging
import queue
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tasks.errors import OutOfMemoryError, StoppedError, WorkerError
from tasks.predict.jobs import ShardJob, look_up
from tasks.predict.known_rows import KnownPart, KnownRows
from tasks.predict.progress import Progress
from tasks.predict.shards import ShardDetails
from tasks.predict.workers.base import BatchRunner
from tasks.predict.workers.batch_limits import DeviceLimits
from tasks.predict.workers.shard_runner import ShardRun
from tasks.predict.workers.usage import Sampler
from tasks.runs.run import Run
from tasks.store.claims import Made
from tasks.store.manifest import Found, Manifest

logger = logging.getLogger("wenti.pool")


@dataclass
class _Member:
    """A worker of the pool, what its device has shown that it can do, and what it has made."""

    name: str
    runner: BatchRunner
    limits: DeviceLimits
    shards: int = 0
    rows: int = 0
    seconds: float = 0.0

    def count(self, rows: int, seconds: float) -> None:
        """Note a shard that was made."""
        self.shards += 1
        self.rows += rows
        self.seconds += seconds

    def figures(self) -> dict[str, Any]:
        """Return what it made and used, under the names of metrics.json."""
        made = {"shards": self.shards, "rows": self.rows, "busy_seconds": round(self.seconds, 2)}
        return {**made, **self.runner.usage()}


class ClaimingPool(ABC):
    """What every `tasks.predict.workers.base.ShardPool` does: claims, looking up, the journal.

    Args:
        run: whose claims and journal are used.
        is_forced: make shards even if the store has them.
        known: the rows that need no generating; None: every row is generated.
    """

    def __init__(self, run: Run, is_forced: bool, known: KnownRows | None) -> None:
        self._run, self._is_forced, self._known = run, is_forced, known
        self._is_closed = False

    def generate(self, job: ShardJob, wait: bool) -> Made | None:
        """Return the job's shard, made now unless the store has it.

        See `tasks.predict.workers.base.ShardPool` for what it raises.
        """
        claims = self._run.claims
        try_or_wait = claims.once if wait else claims.try_once
        made = try_or_wait(job.claim, partial(self._find, job), partial(self._make, job))
        if made is None:
            logger.info("shard %d of %d: left to another run", job.shard.index, job.shard.count)
        elif made.is_reused:  # another run made it meanwhile
            counts = ShardDetails.of(made.manifest).row_counts
            self._run.journal.reused({job.shard.index: counts})
        return made

    def _find(self, job: ShardJob) -> Found:
        # Who waits for another run looks here again and again; the run's claims go on without us.
        if self._is_closed:
            raise StoppedError("the run was stopped")
        if self._is_forced:
            return Found(None)
        found = look_up(job)
        if found.damage is not None:
            logger.warning("shard %d is made again: %s", job.shard.index, found.damage)
        return found

    @abstractmethod
    def _make(self, job: ShardJob) -> Manifest:
        """Make a shard."""

    def _find_known(self, job: ShardJob) -> KnownPart | None:
        return None if self._known is None else self._known.of(job)

    def _note_made(self, job: ShardJob, device: str, seconds: float, manifest: Manifest) -> None:
        """Put a shard that was made into the journal, the log and the known rows."""
        if self._known is not None:
            self._known.add(job, manifest)
        details, shard = ShardDetails.of(manifest), job.shard
        self._run.journal.made(shard.index, device, seconds, details.row_counts)
        reused = f", {details.rows_reused} of them known" if details.rows_reused else ""
        logger.info("shard %d of %d: made, %d rows%s", shard.index, shard.count, shard.rows, reused)


class WorkerPool(ClaimingPool):
    """One worker for each device: a `tasks.predict.workers.base.ShardPool`.

    An idle worker gets the next shard, so that unequal devices end at about the same time.

    Args:
        runners: the workers; the pool closes them.
        run: whose claims and journal are used.
        progress: hears of every row that is done.
        is_forced: make shards even if the store has them.
        known: the rows that need no generating; None: every row is generated.
        batch_seconds: the deadline of every batch; None: learned from each device's speed.
    """

    def __init__(
        self,
        runners: Sequence[BatchRunner],
        run: Run,
        progress: Progress,
        is_forced: bool = False,
        known: KnownRows | None = None,
        batch_seconds: float | None = None,
    ) -> None:
        super().__init__(run, is_forced, known)
        names = name_workers([runner.device for runner in runners])
        self._members = [
            _Member(name, runner, DeviceLimits(fixed_seconds=batch_seconds))
            for name, runner in zip(names, runners, strict=True)
        ]
        self._idle: queue.SimpleQueue[_Member] = queue.SimpleQueue()
        for member in self._members:
            self._idle.put(member)
        self._sampler = Sampler([runner.measure for runner in runners])
        self._progress = progress

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self._members)

    def close(self) -> None:
        """End every worker for good, and the waiting for other runs."""
        self._is_closed = True
        for member in self._members:
            member.runner.close()
        self._sampler.stop()

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return what each worker did and used, by its name, for metrics.json."""
        return {member.name: member.figures() for member in self._members}

    def begin(self, job: ShardJob, known: KnownPart, is_over: Callable[[], bool]) -> None:
        """Generate batches of a shard until `is_over()`, and commit them as pieces.

        Nothing is claimed, and neither progress nor journal hear of it: this is for rows of which
        it is not known yet which shard they will be.

        Raises:
            WorkerError: a batch failed, and not because it was too large; it is not tried again.
            StoppedError: the pool was closed.
            WentiError, OSError: what else kept the worker from generating.
        """
        member, started = self._idle.get(), time.monotonic()
        try:
            run = ShardRun(job, member.runner, member.limits, lambda _: None, _raise, known)
            run.begin(is_over)
        except WorkerError:
            member.runner.restart()
            raise
        finally:
            member.seconds += time.monotonic() - started
            self._idle.put(member)

    def _make(self, job: ShardJob) -> Manifest:
        member = self._idle.get()
        try:
            return self._make_with(member, job)
        finally:
            self._idle.put(member)

    def _make_with(self, member: _Member, job: ShardJob) -> Manifest:
        runner, shard, started = member.runner, job.shard, time.monotonic()
        note_failure = partial(self._run.journal.failed, shard.index, runner.device)
        try:
            known, advance = self._find_known(job), self._progress.advance
            manifest = ShardRun(job, runner, member.limits, advance, note_failure, known).finish()
        except Exception as error:
            note_failure(error)
            if isinstance(error, WorkerError):
                runner.restart()
            raise
        seconds = time.monotonic() - started
        member.count(shard.rows - ShardDetails.of(manifest).rows_reused, seconds)
        runner.measure()
        self._note_made(job, runner.device, seconds, manifest)
        return manifest


def _raise(error: WorkerError) -> None:
    if not isinstance(error, OutOfMemoryError):
        raise error


def name_workers(devices: Sequence[str]) -> list[str]:
    """Name each worker by its device, with a number for the second and later ones on the same."""
    names = []
    for place, device in enumerate(devices):
        before = devices[:place].count(device)
        names.append(f"{device} ({before + 1})" if before else device)
    return names
