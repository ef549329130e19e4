"""A worker process on this machine, as the run sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.errors import StoppedError, WorkerError
from tasks.predict.jobs import ShardJob
from tasks.predict.questions import Question
from tasks.predict.workers.base import WorkerOrder
from tasks.predict.workers.batch_limits import FIRST_SECONDS
from tasks.predict.workers.worker_process import work
from tasks.processes import Child


class Worker:
    """The parent's side of a worker; see `tasks.predict.workers.base.BatchRunner`."""

    def __init__(self, order: WorkerOrder) -> None:
        self._order = order
        self._child: Child | None = None
        self._is_closed = False

    @property
    def device(self) -> str:
        """The device that it works on."""
        return self._order.device

    def find_process(self) -> int | None:
        """Give the id of its process; None while it has none."""
        child = self._child
        return None if child is None else child.process_id

    def open(self, job: ShardJob) -> list[int]:
        """Have the shard's rows read, by a new process if there is none; gives their lengths.

        Raises:
            WorkerError: the process died, or did not get ready in time.
            WentiError: what kept it from loading the model or the rows.
        """
        if self._child is None and not self._is_closed:
            self._child = Child(f"worker on {self._order.device}", work, self._order)
        lengths: list[int] = self._ask(job, FIRST_SECONDS)
        return lengths

    def run(self, positions: Sequence[int], seconds: float) -> list[list[Question]]:
        """See `tasks.predict.workers.base.BatchRunner`."""
        questions: list[list[Question]] = self._ask(list(positions), seconds)
        return questions

    def check(self) -> None:
        """See `tasks.predict.workers.base.BatchRunner`."""
        self._ask([], FIRST_SECONDS)

    def restart(self) -> None:
        """End the process; the next `open` starts a new one."""
        if self._child is not None:
            self._child.stop()
        self._child = None

    def close(self) -> None:
        """End the process for good; whoever waits for it, or asks it, gets a `StoppedError`."""
        self._is_closed = True
        self.restart()

    def _ask(self, message: ShardJob | list[int], seconds: float) -> Any:  # noqa: ANN401
        child = self._child
        if child is None or self._is_closed:
            raise StoppedError("the run was stopped")
        try:
            child.send(message)
            return child.receive(seconds)
        except WorkerError as error:
            if self._is_closed:
                raise StoppedError("the run was stopped") from error
            raise
