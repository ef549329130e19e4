"""A worker on this machine: a child process that is sent requests through a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.engine.gpu.driver import device_names
from tasks.errors import StoppedError, WorkerError
from tasks.plan.plan import Plan
from tasks.predict.jobs import ShardJob, StageJob
from tasks.predict.questions import Question
from tasks.predict.workers.base import (
    Answer,
    CheckHealth,
    OpenShard,
    OpenStage,
    Request,
    RunBatch,
    WorkerOrder,
)
from tasks.predict.workers.batch_limits import FIRST_SECONDS
from tasks.predict.workers.usage import make_meter
from tasks.predict.workers.worker_process import work
from tasks.processes import Child


def make_local_workers(plan: Plan) -> list[LocalWorker]:
    """Return a worker for each device of a plan; none has a process yet."""
    devices = device_names(plan.settings.predict)
    return [LocalWorker(WorkerOrder.from_plan(plan, device)) for device in devices]


class LocalWorker:
    """The parent's side of a worker process: a `tasks.predict.workers.base.BatchRunner`."""

    def __init__(self, order: WorkerOrder) -> None:
        self._order = order
        self._meter = make_meter(order.device)
        self._child: Child | None = None
        self._stage: StageJob | None = None  # of which the child knows
        self._is_closed = False

    @property
    def device(self) -> str:
        """The device as the config names it."""
        return self._order.device

    def open(self, job: ShardJob) -> None:
        """Have the process read the shard's rows; start one if there is none."""
        if self._child is None and not self._is_closed:
            self._child = Child(f"worker on {self._order.device}", work, self._order)
            self._stage = None
        if self._stage is not job.stage:
            self._ask(OpenStage(job.stage), FIRST_SECONDS)
            self._stage = job.stage
        self._ask(OpenShard(job.shard), FIRST_SECONDS)

    def run(self, positions: Sequence[int], seconds: float) -> list[list[Question]]:
        """Generate one batch of the open shard in the process."""
        return self._ask(RunBatch(tuple(positions)), seconds)

    def check(self) -> None:
        """Generate a batch of rows that are known to be good in the process."""
        self._ask(CheckHealth(), FIRST_SECONDS)

    def restart(self) -> None:
        """End the process; the next `open` starts a new one."""
        if self._child is not None:
            self._child.stop()
        self._child = None

    def close(self) -> None:
        """End the process for good; who waits for its answer gets a `StoppedError`."""
        self._is_closed = True
        self.restart()

    def measure(self) -> None:
        """Note what the process, or all of its GPU, uses now."""
        child = self._child
        if child is not None and child.process_id is not None:
            self._meter.measure(child.process_id)

    def usage(self) -> dict[str, Any]:
        """Return what was noted, over all processes that this worker has had."""
        return self._meter.figures()

    def _ask(self, request: Request[Answer], seconds: float) -> Answer:
        child = self._child
        if child is None or self._is_closed:
            raise StoppedError("the run was stopped")
        try:
            child.send(request)
            answer: Answer = child.receive(seconds)
        except WorkerError as error:
            if self._is_closed:
                raise StoppedError("the run was stopped") from error
            raise
        return answer
