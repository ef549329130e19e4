"""The driver: a process between a run and the places on a cluster.

It asks for places, hands out jobs, and gives up places that are lost or no longer answer. It ends
with its connection to the run; Ray ends its places with it, and ends it if the head is gone.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from tasks.cluster import runtime
from tasks.cluster.messages import (
    Answer,
    ClusterOrder,
    Connected,
    Done,
    Failed,
    Leave,
    PlaceFacts,
    PlaceIsLost,
    PlaceIsUnfit,
    PlaceIsUp,
    PlaceNeeds,
    Submit,
    Told,
    TriedTwice,
)
from tasks.cluster.schedule import Schedule
from tasks.cluster.starts import Starts
from tasks.errors import ClusterError, PlaceLostError, WorkerError

TICK_SECONDS = 0.1
NODES_SECONDS = 3.0
"""How often the nodes are counted."""

LISTEN_SECONDS = 1.0
"""How often a place is listened to; less often if there are more than a hundred."""

SILENT_SECONDS = 60.0
"""A place that does not answer for so long is given up, though Ray may believe that it lives."""

START_SECONDS = 300.0
"""A place that is not up after this time is asked for again: its node may be gone."""


def drive(connection: Connection, order: ClusterOrder) -> None:
    """Do the jobs that come through the pipe, until it closes."""
    try:
        runtime.connect(order.settings.address)
        driver = Driver(connection, order)
        driver.greet()
        driver.run()
    except ClusterError as error:
        connection.send(error)
    runtime.disconnect()


@dataclass
class _Place:
    """A place as the driver knows it."""

    handle: runtime.ActorHandle
    asked: float
    name: str = ""
    heard: float = 0.0  # when it answered last
    listening: bool = False
    references: set[runtime.ObjectRef] = field(default_factory=set)

    @property
    def is_up(self) -> bool:
        return self.name != ""


class Driver:
    """The places and jobs of one run; `runtime.connect` comes first."""

    def __init__(self, connection: Connection, order: ClusterOrder) -> None:
        self._connection, self._order = connection, order
        self._nodes = runtime.find_nodes()
        self._needs = self._find_needs()
        self._makers = self._make_places()
        self._schedule = Schedule(order.settings.speculate)
        self._jobs: dict[int, object] = {}
        self._places: dict[int, _Place] = {}
        self._asked = 0
        self._references: dict[runtime.ObjectRef, tuple[int, str]] = {}
        self._inbox: queue.SimpleQueue[Submit | Leave] = queue.SimpleQueue()
        self._nodes_at = self._none_since = time.monotonic()
        self._starts = Starts()

    def greet(self) -> None:
        """Tell the run of the nodes."""
        self._connection.send(Connected(tuple(self._nodes), self._wanted()))
        threading.Thread(target=self._receive, name="messages", daemon=True).start()

    def run(self) -> None:
        """Do jobs until the run closes the connection.

        Raises:
            ClusterError: there is no place to do them.
        """
        while self._take_messages():
            self._ask_for_places()
            self._hand_out()
            self._listen()
            self._take_answers()
            self._give_up()

    def _receive(self) -> None:
        try:
            while True:
                self._inbox.put(self._connection.recv())
        except (EOFError, OSError):
            self._inbox.put(Leave())

    def _take_messages(self) -> bool:
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, Leave):
                return False
            self._jobs[message.number] = message.job
            self._schedule.add(message.number)
        return True

    def _wanted(self) -> int:
        wanted = self._order.settings.places
        if wanted == "all":
            wanted = sum(self._needs.count_on(node.resources) for node in self._nodes)
        return max(1, min(wanted, self._order.most_places))

    def _ask_for_places(self) -> None:
        now = time.monotonic()
        if now - self._nodes_at > NODES_SECONDS:
            self._nodes, self._nodes_at = runtime.find_nodes(), now
            self._fit_needs()
        if not self._starts.may_ask(now):
            return
        for _ in range(self._wanted() - len(self._places)):
            self._asked += 1
            place = _Place(self._makers.start(), now)
            self._places[self._asked] = place
            self._expect(self._asked, "facts", place.handle.facts.remote())

    def _make_places(self) -> runtime.Places:
        order = self._order
        return runtime.Places(self._needs, order.factory, order.device_kind, order.variables)

    def _find_needs(self) -> PlaceNeeds:
        order = self._order
        return PlaceNeeds.find(order.settings, order.device_kind, order.cpu_threads, self._nodes)

    def _fit_needs(self) -> None:
        """Before any place is up, let places take what the nodes have that are there by now."""
        needs = self._find_needs()
        if needs == self._needs or any(place.is_up for place in self._places.values()):
            return
        for key in list(self._places):
            self._drop(key)
        self._needs = needs
        self._makers = self._make_places()

    def _hand_out(self) -> None:
        for key, place in self._places.items():
            if not place.is_up or self._schedule.attempt_of(str(key)) is not None:
                continue
            attempt = self._schedule.assign(str(key), time.monotonic())
            if attempt is None:
                return
            if attempt.behind:
                self._connection.send(TriedTwice(attempt.number, place.name, attempt.behind))
            job = self._jobs[attempt.number]
            self._expect(key, "answer", place.handle.do.remote(job))

    def _listen(self) -> None:
        now = time.monotonic()
        seconds = max(LISTEN_SECONDS, len(self._places) / 100)
        for key, place in self._places.items():
            if place.is_up and not place.listening and now - place.heard > seconds:
                place.listening = True
                self._expect(key, "told", place.handle.listen.remote())

    def _expect(self, key: int, what: str, reference: runtime.ObjectRef) -> None:
        self._references[reference] = (key, what)
        self._places[key].references.add(reference)

    def _take_answers(self) -> None:
        for reference in runtime.wait_for(list(self._references), TICK_SECONDS):
            found = self._references.pop(reference, None)
            if found is None:
                continue  # its place was given up
            key, what = found
            self._places[key].references.discard(reference)
            try:
                answer = runtime.read(reference)
            except WorkerError as error:
                self._lose(key, str(error))
            else:
                self._places[key].heard = time.monotonic()
                self._take(key, what, answer)

    def _take(self, key: int, what: str, answer: Any) -> None:  # noqa: ANN401 by `what`
        place = self._places[key]
        if what == "facts":
            self._welcome(key, answer)
        elif what == "told":
            place.listening = False
            self._tell(key, answer)
        else:
            self._end_attempt(key, answer)

    def _welcome(self, key: int, facts: PlaceFacts) -> None:
        place = self._places[key]
        if facts.fault is not None:
            self._connection.send(PlaceIsUnfit(facts.node, facts.fault))
            self._lose(key, f"node {facts.node}: {facts.fault}")
            return
        taken = {one.name for one in self._places.values()}
        names = [f"{facts.node} {facts.device}"]
        while names[-1] in taken:
            names.append(f"{names[0]} ({len(names) + 1})")
        place.name = names[-1]
        self._starts.succeed()
        self._connection.send(PlaceIsUp(place.name))

    def _tell(self, key: int, events: list[object]) -> None:
        attempt = self._schedule.attempt_of(str(key))
        if events and attempt is not None:
            place = self._places[key].name
            self._connection.send(Told(attempt.number, attempt.attempt, place, events))

    def _end_attempt(self, key: int, answer: Answer) -> None:
        self._tell(key, answer.told)
        name, place = self._places[key].name, str(key)
        attempt = self._schedule.attempt_of(place)
        if attempt is None:
            raise RuntimeError("a place has answered without a job")
        number = attempt.number
        if isinstance(answer.answer, Exception):
            if self._schedule.fail(place):
                self._end_job(Failed(number, name, answer.answer))
        elif self._schedule.finish(place, time.monotonic()):
            self._end_job(Done(number, name, answer.answer))

    def _end_job(self, outcome: Done | Failed) -> None:
        del self._jobs[outcome.number]
        self._connection.send(outcome)

    def _lose(self, key: int, problem: str) -> None:
        """Give a place up, and the attempt at its job with it; another place is asked for."""
        place = self._drop(key)
        if not place.is_up:
            self._starts.fail(problem, time.monotonic())
            return
        self._connection.send(PlaceIsLost(place.name, problem))
        attempt = self._schedule.attempt_of(str(key))
        if attempt is not None and self._schedule.fail(str(key)):
            error = PlaceLostError(f"{place.name} was lost: {problem}")
            self._end_job(Failed(attempt.number, place.name, error))

    def _give_up(self) -> None:
        """Give up places that do not answer, and everything if there is none for too long."""
        now = time.monotonic()
        for key, place in list(self._places.items()):
            if place.is_up and place.listening and now - place.heard > SILENT_SECONDS:
                self._lose(key, f"it has not answered for {SILENT_SECONDS:.0f} s")
            elif not place.is_up and now - place.asked > START_SECONDS:
                self._drop(key)  # it may have been put on a node that is gone
        if any(place.is_up for place in self._places.values()):
            self._none_since = now
        elif self._starts.are_hopeless:
            raise ClusterError(
                f"no place can be started on the Ray cluster: {self._starts.last_problem}; every "
                "node needs the same Wenti and Paddle, and the store: `wenti doctor` compares them"
            )
        elif now - self._none_since > self._order.settings.wait_for_nodes_seconds:
            raise ClusterError(self._explain_waiting())

    def _drop(self, key: int) -> _Place:
        """End a place, and forget what it was asked; return it."""
        place = self._places.pop(key)
        for reference in place.references:
            self._references.pop(reference, None)
        runtime.kill([place.handle])
        return place

    def _explain_waiting(self) -> str:
        seconds = self._order.settings.wait_for_nodes_seconds
        nodes = "; ".join(map(str, self._nodes)) or "none"
        return (
            f"the Ray cluster has had no room for a place for {seconds:.0f} s "
            f"(cluster.wait_for_nodes_seconds): a place takes {self._needs}, and the nodes are: "
            f"{nodes}; add nodes, or change cluster.resources or predict.device"
        )
