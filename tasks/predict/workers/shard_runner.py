"""Make one shard, whatever happens to the worker that generates its batches.

A batch that does not fit into memory is halved. A batch that kills its worker, hangs or returns
nonsense is tried once more and then bisected, until the rows that do it every time are found. If
the engine still answers rows that are known to be good, the guilty rows are rejected with the
reason, and the shard completes.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tasks.errors import OutOfMemoryError, WorkerError
from tasks.predict.jobs import ShardJob
from tasks.predict.known_rows import KnownPart
from tasks.predict.workers.base import BatchRunner
from tasks.predict.workers.batch_limits import DeviceLimits
from tasks.predict.workers.shard_state import ShardState
from tasks.store.manifest import Manifest

logger = logging.getLogger("wenti.shard")

TRIES = 2
"""How often a batch is tried before it is bisected; the halves of it are tried once."""


@dataclass(frozen=True)
class _Work:
    positions: list[int]
    failures: int = 0

    def halves(self) -> list[_Work]:
        middle = len(self.positions) // 2
        parts = (self.positions[:middle], self.positions[middle:])
        return [_Work(part, self.failures) for part in parts]


class ShardRun:
    """The state of one shard while it is made.

    Args:
        job: the shard.
        runner: generates its batches; is restarted when it fails.
        limits: of the runner's device; learned from every batch.
        on_rows: told of rows that are done; a number below 0 takes them back.
        on_failure: told of every batch that failed.
        known: what of the shard needs no generating.

    Raises:
        WorkerError: the worker died, or was not ready in time.
        WentiError, OSError: what kept it from loading the model or the rows.
    """

    def __init__(
        self,
        job: ShardJob,
        runner: BatchRunner,
        limits: DeviceLimits,
        on_rows: Callable[[int], None],
        on_failure: Callable[[WorkerError], None],
        known: KnownPart | None = None,
    ) -> None:
        self._job, self._runner, self._limits = job, runner, limits
        self._on_rows, self._on_failure = on_rows, on_failure
        self._shard = ShardState.open(job, known or KnownPart())
        self._todo = deque(map(_Work, self._shard.todo))
        if self._todo:
            runner.open(job)
        self._counted = 0
        self._count(job.shard.rows - sum(len(work.positions) for work in self._todo))

    def finish(self) -> Manifest:
        """Run every batch and commit the shard.

        Raises:
            WorkerError: the engine fails on good rows too, so that no row can be blamed.
            StorageError: the shard cannot be written.
            StoppedError: the runner was closed.
            WentiError, OSError: what else ended a batch in the worker.
        """
        try:
            self._generate()
            return self._shard.commit()
        except Exception:
            # The next attempt at the shard counts its rows again.
            self._on_rows(-self._counted)
            raise

    def begin(self, is_over: Callable[[], bool]) -> None:
        """Run batches until all are done or `is_over()`, and commit them as pieces.

        Raises: as `finish`.
        """
        self._generate(is_over)
        self._shard.commit_piece(now=True)

    def _generate(self, is_over: Callable[[], bool] = lambda: False) -> None:
        while self._todo and not is_over():
            work = self._todo.popleft()
            if self._is_too_large(work):
                self._todo.extendleft(reversed(work.halves()))
            else:
                self._try(work)

    def _try(self, work: _Work) -> None:
        tokens, started = self._shard.padded(work.positions), time.monotonic()
        try:
            found = self._runner.run(work.positions, self._limits.deadline(tokens))
        except OutOfMemoryError as error:
            self._limits.learn_too_large(tokens)
            if len(work.positions) == 1:  # a new worker has more room, as if it had crashed
                self._recover(work, error)
            else:
                self._on_failure(error)
                self._split_or_reject(work, error)
        except WorkerError as error:
            self._recover(work, error)
        else:
            self._limits.learn_speed(tokens, time.monotonic() - started)
            self._shard.add(work.positions, found)
            self._count(len(work.positions))
            if self._todo:
                self._shard.commit_piece()

    def _recover(self, work: _Work, error: WorkerError) -> None:
        """Restart the worker, and try the batch again or bisect it."""
        rows, shard = len(work.positions), self._job.shard.index
        logger.warning("shard %d, a batch of %d rows: %s", shard, rows, error)
        self._on_failure(error)
        self._runner.restart()
        self._limits.forget_speed()
        self._runner.open(self._job)
        if work.failures + 1 < TRIES:
            self._todo.appendleft(_Work(work.positions, work.failures + 1))
            return
        if rows == 1:
            self._runner.check()  # raises if the fault is not the row's
        self._split_or_reject(work, error)

    def _split_or_reject(self, work: _Work, error: WorkerError) -> None:
        if len(work.positions) > 1:
            self._todo.extendleft(reversed(work.halves()))
            return
        self._shard.rejects[work.positions[0]] = error
        self._count(1)

    def _count(self, rows: int) -> None:
        self._counted += rows
        self._on_rows(rows)

    def _is_too_large(self, work: _Work) -> bool:
        is_large = self._shard.padded(work.positions) > self._limits.most_tokens
        return is_large and len(work.positions) > 1
