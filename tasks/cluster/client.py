"""The run's side of a cluster: jobs go to the driver, a child process, and answers come back."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection

from tasks.cluster.messages import (
    ClusterOrder,
    Connected,
    Done,
    Failed,
    Leave,
    LogLine,
    PlaceIsLost,
    PlaceIsUnfit,
    PlaceIsUp,
    Submit,
    Told,
    TriedTwice,
    WorkerFactory,
)
from tasks.config.settings import Settings
from tasks.errors import ClusterError, StoppedError, WentiError, WorkerError
from tasks.processes import Child
from tasks.store.objects.connection import describe_stores

logger = logging.getLogger("wenti.cluster")

CONNECT_SECONDS = 120.0
LEAVE_SECONDS = 10.0
WAITING = 2
"""Jobs that wait at the driver, beside a quarter of the places: so that no place is idle."""

Hear = Callable[[int, str, object], None]
"""Takes the number of an attempt, its place, and what that told."""


@dataclass
class _Call:
    """A job that has no outcome yet."""

    hear: Hear
    ended: threading.Event = field(default_factory=threading.Event)
    outcome: Done | Failed | WentiError | None = None

    def end(self, outcome: Done | Failed | WentiError) -> None:
        self.outcome = outcome
        self.ended.set()


class ClusterClient:
    """The driver of a run; its methods may be called from several threads.

    Raises:
        ClusterError: the cluster cannot be used.
    """

    def __init__(self, order: ClusterOrder) -> None:
        self._address = order.settings.address
        self._numbers = itertools.count()
        self._calls: dict[int, _Call] = {}
        self._lock = threading.Condition()
        self._sending = threading.Lock()
        self._places: set[str] = set()
        self._unfit: set[PlaceIsUnfit] = set()
        self._waiting = 0
        self._end: WentiError | None = None
        self._child = Child("cluster driver", _drive, order)
        self.connected = self._connect()
        context = copy_context()  # by which log lines find the flow run
        self._receiver = threading.Thread(
            target=context.run, args=(self._receive,), name="wenti cluster", daemon=True
        )
        self._receiver.start()

    def do(self, job: object, hear: Hear) -> Done | Failed:
        """Return a job's answer and its place; `hear` is called for what places tell meanwhile.

        Raises:
            PlaceLostError: its place was lost.
            ClusterError: the connection to the cluster was lost, or there is no place.
            StoppedError: the client was closed.
            WentiError, OSError: the worker's error.
        """
        call, number = _Call(hear), next(self._numbers)
        with self._lock:
            if self._end is not None:
                raise self._end
            self._calls[number] = call
        with self._sending, suppress(WorkerError):  # the end is told to every call
            self._child.send(Submit(number, pickle.dumps(job)))
        call.ended.wait()
        if isinstance(call.outcome, Done):
            return replace(call.outcome, answer=pickle.loads(call.outcome.answer))  # noqa: S301 our own
        if isinstance(call.outcome, Failed):
            return call.outcome
        raise call.outcome or StoppedError("the run was stopped")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold one of the turns in the block; there are a few more of them than places.

        So a run takes from others no more shards than it can soon make.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._end is not None or self._waiting < self._turns)
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                self._lock.notify()

    def close(self) -> None:
        """End the driver, and its places with it; calls that are running raise `StoppedError`."""
        self._finish(StoppedError("the run was stopped"))
        with self._sending, suppress(WorkerError):
            self._child.send(Leave())
        self._receiver.join(LEAVE_SECONDS)
        self._child.stop()

    @property
    def _turns(self) -> int:
        return len(self._places) + WAITING + len(self._places) // 4

    def _connect(self) -> Connected:
        try:
            answer: Connected = self._child.receive(CONNECT_SECONDS)
        except WentiError as error:
            self._child.stop()
            if isinstance(error, ClusterError):
                raise
            raise ClusterError(
                f"the Ray cluster at {self._address} (cluster.address) does not answer: {error}"
            ) from error
        return answer

    def _receive(self) -> None:
        try:
            while True:
                for message in self._child.receive():
                    self._take(message)
        except ClusterError as error:
            self._finish(error)
        except WentiError as error:  # Ray ends its process if the head is gone
            self._finish(
                ClusterError(
                    f"the connection to the Ray cluster at {self._address} was lost ({error}): its "
                    "head is gone or cannot be reached. What was made is kept: start the cluster "
                    "and run again, or set predict.executor=local"
                )
            )

    def _take(self, message: object) -> None:
        match message:
            case PlaceIsUp(place):
                self._count(place, is_up=True)
                logger.info("%s is ready, the place number %d", place, len(self._places))
            case PlaceIsLost(place, problem):
                self._count(place, is_up=False)
                logger.warning("%s was lost, %d are left: %s", place, len(self._places), problem)
            case PlaceIsUnfit():
                if message not in self._unfit:  # the node is tried again and again
                    self._unfit.add(message)
                    logger.warning("node %s cannot be used: %s", message.node, message.problem)
            case TriedTwice(number, place, seconds):
                logger.info("job %d takes %.0f s so far; %s tries it too", number, seconds, place)
            case Told(number, attempt, place, events):
                self._hear(number, attempt, place, events)
            case Done(number) | Failed(number):
                with self._lock:
                    call = self._calls.pop(number)
                call.end(message)
            case _:
                raise TypeError(f"no driver sends a {type(message).__name__}")

    def _count(self, place: str, is_up: bool) -> None:
        with self._lock:
            (self._places.add if is_up else self._places.discard)(place)
            self._lock.notify_all()

    def _hear(self, number: int, attempt: int, place: str, events: list[object]) -> None:
        call = self._calls.get(number)
        for event in events:
            if isinstance(event, LogLine):
                logger.log(event.level, "%s: %s", place, event.text)
            elif call is not None:
                call.hear(attempt, place, event)

    def _finish(self, error: WentiError) -> None:
        with self._lock:
            self._end = self._end or error
            calls, self._calls = list(self._calls.values()), {}
            self._lock.notify_all()
        for call in calls:
            call.end(self._end)


def do_at_place(settings: Settings, factory: WorkerFactory, job: object) -> Done:
    """Return the answer of a place that is started for one job.

    Raises:
        PlaceLostError: the place was lost.
        ClusterError: the cluster cannot be used, or has no room.
        WentiError, OSError: the worker's error.
    """
    predict = settings.predict
    order = ClusterOrder(
        settings=settings.cluster,
        device_kind=predict.device_kind,
        cpu_threads=predict.cpu_threads,
        factory=factory,
        most_places=1,
        variables=find_variables(),
    )
    with closing(ClusterClient(order)) as client:
        outcome = client.do(job, lambda *_: None)
    if isinstance(outcome, Failed):
        raise outcome.error
    return outcome


def find_variables() -> dict[str, str | None]:
    """Return the variables of this process that places are to have: Ray sets them otherwise."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"), **describe_stores()}


def _drive(connection: Connection, order: ClusterOrder) -> None:
    # Ray prints the stack of a process that is told to end.
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
    from tasks.cluster.driver import drive  # imports Ray, which stays out of the run

    drive(connection, order)
