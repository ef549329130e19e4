"""The driver: a process between a run and the places on a cluster.

It asks for places, hands out jobs, and gives up places that are lost or no longer answer. It ends
with its connection to the run; Ray ends its places with it, and ends it if the head is gone.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
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
from tasks.cluster.schedule import Attempt, Schedule
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

    @property
    def is_up(self) -> bool:
        return self.name != ""


@dataclass(frozen=True)
class _Heard:
    """An answer of a place, or why there will be none, and what takes it."""

    place: int
    take: Callable[[int, Any], None]
    answer: Any


class Driver:
    """The places and jobs of one run; `runtime.connect` comes first."""

    def __init__(self, connection: Connection, order: ClusterOrder) -> None:
        self._connection, self._order = connection, order
        self._nodes = runtime.find_nodes()
        self._needs = self._find_needs()
        self._makers = runtime.Places(self._needs, order)
        self._schedule = Schedule(order.settings.speculate)
        self._jobs: dict[int, bytes] = {}
        self._places: dict[int, _Place] = {}
        self._asked = 0
        self._inbox: queue.SimpleQueue[Submit | Leave | _Heard] = queue.SimpleQueue()
        self._outbox: list[object] = []
        self._nodes_at = self._none_since = self._looked = time.monotonic()
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
            self._hand_out()
            self._send()
            if time.monotonic() - self._looked >= TICK_SECONDS:
                self._ask_for_places()
                self._listen()
                self._give_up()
                self._looked = time.monotonic()

    def _receive(self) -> None:
        try:
            while True:
                self._inbox.put(self._connection.recv())
        except (EOFError, OSError):
            self._inbox.put(Leave())

    def _take_messages(self) -> bool:
        """Take what has come, waiting a little for the first; return False at the end."""
        with suppress(queue.Empty):
            message = self._inbox.get(timeout=TICK_SECONDS)
            while not isinstance(message, Leave):
                self._take(message)
                message = self._inbox.get_nowait()
            return False
        return True

    def _take(self, message: Submit | _Heard) -> None:
        if isinstance(message, Submit):
            self._jobs[message.number] = message.job
            self._schedule.add(message.number)
        elif message.place not in self._places:
            return  # it was given up
        elif isinstance(message.answer, WorkerError):
            self._lose(message.place, str(message.answer))
        else:
            self._places[message.place].heard = time.monotonic()
            message.take(message.place, message.answer)

    def _send(self) -> None:
        if self._outbox:
            self._connection.send(self._outbox)
            self._outbox = []

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
            place = self._places[self._asked] = _Place(self._makers.start(), now)
            self._expect(self._asked, place.handle.facts.remote(), self._welcome)

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
        self._makers = runtime.Places(self._needs, self._order)

    def _hand_out(self) -> None:
        for key, place in self._places.items():
            if not place.is_up or self._schedule.attempt_of(str(key)) is not None:
                continue
            attempt = self._schedule.assign(str(key), time.monotonic())
            if attempt is None:
                return
            if attempt.behind:
                self._outbox.append(TriedTwice(attempt.number, place.name, attempt.behind))
            promised = place.handle.do.remote(self._jobs[attempt.number])
            self._expect(key, promised, self._end_attempt)

    def _listen(self) -> None:
        now = time.monotonic()
        seconds = max(LISTEN_SECONDS, len(self._places) / 100)
        for key, place in self._places.items():
            if place.is_up and not place.listening and now - place.heard > seconds:
                place.listening = True
                take = partial(self._end_listening, self._schedule.attempt_of(str(key)))
                self._expect(key, place.handle.listen.remote(), take)

    def _expect(
        self, key: int, reference: runtime.ObjectRef, take: Callable[[int, Any], None]
    ) -> None:
        put = self._inbox.put
        runtime.call_with_answer(reference, lambda answer: put(_Heard(key, take, answer)))

    def _welcome(self, key: int, facts: PlaceFacts) -> None:
        place = self._places[key]
        if facts.fault is not None:
            self._outbox.append(PlaceIsUnfit(facts.node, facts.fault))
            self._lose(key, f"node {facts.node}: {facts.fault}")
            return
        taken = {one.name for one in self._places.values()}
        names = [f"{facts.node} {facts.device}"]
        while names[-1] in taken:
            names.append(f"{names[0]} ({len(names) + 1})")
        place.name = names[-1]
        self._starts.succeed()
        self._outbox.append(PlaceIsUp(place.name))

    def _end_listening(self, attempt: Attempt | None, key: int, events: list[object]) -> None:
        self._places[key].listening = False
        self._tell(key, attempt or self._schedule.attempt_of(str(key)), events)  # or its job since

    def _tell(self, key: int, attempt: Attempt | None, events: list[object]) -> None:
        if events and attempt is not None:
            place = self._places[key].name
            self._outbox.append(Told(attempt.number, attempt.attempt, place, events))

    def _end_attempt(self, key: int, answer: Answer) -> None:
        name, place = self._places[key].name, str(key)
        attempt = self._schedule.attempt_of(place)
        if attempt is None:
            raise RuntimeError("a place has answered without a job")
        self._tell(key, attempt, answer.told)
        number = attempt.number
        if isinstance(answer.answer, Exception):
            if self._schedule.fail(place):
                self._end_job(Failed(number, name, answer.answer))
        elif self._schedule.finish(place, time.monotonic()):
            self._end_job(Done(number, name, answer.answer))

    def _end_job(self, outcome: Done | Failed) -> None:
        del self._jobs[outcome.number]
        self._outbox.append(outcome)

    def _lose(self, key: int, problem: str) -> None:
        """Give a place up, and the attempt at its job with it; another place is asked for."""
        place = self._drop(key)
        if not place.is_up:
            self._starts.fail(problem, time.monotonic())
            return
        self._outbox.append(PlaceIsLost(place.name, problem))
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
            return
        self._starts.require_hope()
        if now - self._none_since > self._order.settings.wait_for_nodes_seconds:
            raise ClusterError(self._explain_waiting())

    def _drop(self, key: int) -> _Place:
        """End a place; return it. What it still answers is not heard."""
        place = self._places.pop(key)
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
