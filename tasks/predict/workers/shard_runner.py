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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.engine.batch import plan_batches
from tasks.errors import OutOfMemoryError, WorkerError
from tasks.predict.jobs import ShardJob
from tasks.predict.questions import Question
from tasks.predict.shards import RejectRow, ShardDetails
from tasks.predict.workers.base import BatchRunner
from tasks.predict.workers.batch_limits import DeviceLimits
from tasks.store.manifest import Manifest, commit_manifest, fingerprint
from tasks.store.tables import SHARD, commit_table, make_batches

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
    ) -> None:
        self._job, self._runner, self._limits = job, runner, limits
        self._on_rows, self._on_failure = on_rows, on_failure
        self._lengths = runner.open(job)
        self._planned = plan_batches(self._lengths, job.batch_size, job.max_tokens_per_batch)
        self._todo = deque(_Work(batch) for batch in self._planned)
        self._done: list[list[int]] = []
        self._questions: dict[int, list[Question]] = {}
        self._rejects: dict[int, WorkerError] = {}

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
            return self._commit()
        except Exception:
            # The next attempt at the shard counts its rows again.
            self._on_rows(-len(self._questions) - len(self._rejects))
            raise

    def _generate(self) -> None:
        while self._todo:
            work = self._todo.popleft()
            if self._is_too_large(work):
                self._todo.extendleft(reversed(work.halves()))
            else:
                self._try(work)

    def _try(self, work: _Work) -> None:
        tokens, started = self._padded(work.positions), time.monotonic()
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
            self._questions |= dict(zip(work.positions, found, strict=True))
            self._done.append(work.positions)
            self._on_rows(len(work.positions))

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
        self._rejects[work.positions[0]] = error
        self._on_rows(1)

    def _is_too_large(self, work: _Work) -> bool:
        is_large = self._padded(work.positions) > self._limits.most_tokens
        return is_large and len(work.positions) > 1

    def _padded(self, positions: Sequence[int]) -> int:
        return len(positions) * max(self._lengths[position] for position in positions)

    def _commit(self) -> Manifest:
        job, rows = self._job, self._job.read_ids()
        kept = sorted(self._questions)
        questions = [self._questions[position] for position in kept]
        kept_rows = [rows[position] for position in kept]
        path = job.folder / self._file_name()
        entry = commit_table(path, SHARD, make_shard_batches(kept_rows, questions))
        manifest = Manifest(
            kind="shard",
            fingerprint=job.fingerprint,
            decided_by=job.decided_by,
            files=(entry,),
            details=self._describe(rows, questions).as_dict(),
        )
        commit_manifest(job.manifest_path, manifest)
        return manifest

    def _file_name(self) -> str:
        """Return the name that belongs to the batches that were run.

        Batches cut otherwise than planned can change the last digits of scores. Such a shard has a
        file name of its own, so that two runs which make the same shard never write different
        bytes under one name, however late one of them commits.
        """
        shard = self._job.shard
        if self._done == self._planned:
            return shard.file_name
        digest = fingerprint({"batches": self._done})
        return f"{shard.name}-{digest[:8]}.parquet"

    def _describe(
        self, rows: Sequence[dict[str, Any]], questions: Sequence[Sequence[Question]]
    ) -> ShardDetails:
        return ShardDetails(
            rows=len(questions),
            batches=len(self._done),
            input_tokens=sum(self._lengths[position] for position in self._questions),
            padded_tokens=sum(self._padded(batch) for batch in self._done),
            output_tokens=sum(len(ranked[0].output_ids) for ranked in questions),
            rejects=[
                RejectRow(
                    **rows[position],
                    line=None,
                    reason=error.reason,
                    detail=str(error),
                )
                for position, error in sorted(self._rejects.items())
            ],
        )


def make_shard_batches(
    rows: Sequence[dict[str, Any]], questions: Sequence[Sequence[Question]]
) -> Iterator[pa.RecordBatch]:
    """Yield a shard's rows (columns of `tasks.store.tables.SHARD`).

    Args:
        rows: `row` and `id` of each row.
        questions: the questions of each row, best first.
    """
    records = (
        {
            **row,
            "question": best.text,
            "score": best.score,
            "output_ids": best.output_ids,
            "alternatives": [{"question": one.text, "score": one.score} for one in others],
        }
        for row, (best, *others) in zip(rows, questions, strict=True)
    )
    return make_batches(records, SHARD)
