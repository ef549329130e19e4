"""What crosses between a run, its driver process and the places on the nodes.

A place is an actor of Ray with a worker in it. A job is done when one of its attempts is, and has
failed when the last of them has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from tasks.config.sections.cluster import ClusterSettings

Tell = Callable[[object], None]
"""Takes what a worker tells of its job while it works."""


class Worker(Protocol):
    """Does the jobs of a place, one after the other."""

    def work(self, job: object, tell: Tell) -> object:
        """Return the job's answer.

        Raises:
            WentiError, OSError: what kept it from that.
        """


class WorkerFactory(Protocol):
    """Starts the worker of a place, on the place's node; is sent there as a pickle."""

    def start(self) -> Worker:
        """Return a worker; its process is the place's own.

        Raises:
            WentiError, OSError: what this node lacks.
        """


@dataclass(frozen=True)
class PlaceNeeds:
    """What a place takes of its node.

    Attributes:
        resources: the amounts by Ray's names: CPU, GPU, memory in bytes, and any others.
        accelerator: Ray's name of the only kind of GPU; None: any.
    """

    resources: Mapping[str, float]
    accelerator: str | None = None

    @classmethod
    def find(
        cls, settings: ClusterSettings, device_kind: str, cpu_threads: int, nodes: Sequence[Node]
    ) -> Self:
        """Return what a place takes: unless it is set, no more CPUs than the largest node has."""
        threads = float(cpu_threads)
        if device_kind == "gpu":
            own = {"CPU": 1.0, "GPU": settings.gpus_per_place}
        else:
            most = max((node.resources.get("CPU", 0.0) for node in nodes), default=0.0)
            own = {"CPU": min(threads, most) or threads}
        return cls({**own, **settings.resources}, settings.accelerator)

    def count_on(self, resources: Mapping[str, float]) -> int:
        """Return how many places fit on a node that has these resources."""
        wanted = {name: amount for name, amount in self.resources.items() if amount > 0}
        if self.accelerator is not None:
            wanted[f"accelerator_type:{self.accelerator}"] = 0.001  # as Ray asks for it
        fits = (int(resources.get(name, 0.0) / amount + 1e-6) for name, amount in wanted.items())
        return min(fits, default=0)

    def __str__(self) -> str:
        """Return the amounts in words."""
        amounts = [f"{name} {amount:g}" for name, amount in self.resources.items()]
        return ", ".join([*amounts, *([self.accelerator] if self.accelerator else [])])


@dataclass(frozen=True)
class ClusterOrder:
    """What a driver needs: the cluster, the worker of its places, and how many are of use."""

    settings: ClusterSettings
    device_kind: str
    cpu_threads: int
    factory: WorkerFactory
    most_places: int
    variables: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """A node of the cluster that is alive, with all resources that it has."""

    node_id: str
    name: str
    resources: Mapping[str, float]

    def __str__(self) -> str:
        """Return its name and what it has."""
        kinds = ("CPU", "GPU")
        amounts = [f"{name} {self.resources.get(name, 0):g}" for name in kinds]
        others = [name for name in self.resources if name.startswith("accelerator_type:")]
        return f"{self.name} ({', '.join([*amounts, *others])})"


@dataclass(frozen=True)
class PlaceFacts:
    """Where a place is: its node's name, its device there, and the number of its process.

    `fault` says why there is no worker; None if there is one.
    """

    node: str
    device: str
    process_id: int
    fault: str | None = None


@dataclass(frozen=True)
class LogLine:
    """A line of a worker's log; `level` is a number of `logging`."""

    level: int
    text: str


@dataclass(frozen=True)
class Answer:
    """What a place returns for a job: the worker's answer, pickled, or the error that ended it."""

    answer: bytes | Exception
    told: list[object]


# To the driver.


@dataclass(frozen=True)
class Submit:
    """Do a job; `number` is what its answer is told by.

    The job is a pickle, which only the place reads: Ray takes ten times as long for a table.
    """

    number: int
    job: bytes


@dataclass(frozen=True)
class Leave:
    """End the connection to the cluster, and the driver."""


# From the driver, many at once in a list. An error ends the driver.


@dataclass(frozen=True)
class Connected:
    """The driver is connected; `places` fit on the nodes that are there."""

    nodes: tuple[Node, ...]
    places: int


@dataclass(frozen=True)
class PlaceIsUp:
    """A place is ready for jobs."""

    place: str


@dataclass(frozen=True)
class PlaceIsUnfit:
    """No place can be started on a node, for now; another is asked for."""

    node: str
    problem: str


@dataclass(frozen=True)
class PlaceIsLost:
    """A place is gone, or is given up; another is asked for."""

    place: str
    problem: str


@dataclass(frozen=True)
class Told:
    """What a place has told of a job meanwhile; `attempt` counts all attempts at all jobs."""

    number: int
    attempt: int
    place: str
    events: list[object]


@dataclass(frozen=True)
class TriedTwice:
    """A job takes so long that another place tries it too."""

    number: int
    place: str
    seconds: float


@dataclass(frozen=True)
class Done:
    """A job is done; its answer comes from `place`, and is a pickle until it is with the run."""

    number: int
    place: str
    answer: Any


@dataclass(frozen=True)
class Failed:
    """All attempts at a job have failed, this one last."""

    number: int
    place: str
    error: Exception
