"""The only import of Ray: a connection to a cluster, its nodes, and places on them.

Only for a process of its own: when the head is gone, Ray ends the process that is connected.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import ray
from ray import ObjectRef as ObjectRef
from ray import exceptions
from ray.actor import ActorHandle as ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tasks.cluster.messages import (
    Answer,
    ClusterOrder,
    LogLine,
    Node,
    PlaceFacts,
    PlaceNeeds,
    Worker,
    WorkerFactory,
)
from tasks.environment import set_variables
from tasks.errors import ClusterError, WentiError, WorkerError, describe_error

NODE_SECONDS = 60.0
"""So long may a node take for what it is asked by `call_on_nodes`."""

Seen = TypeVar("Seen")


class Place:
    """An actor: a worker on a node, which does one job at a time and can be listened to meanwhile.

    Args:
        factory: starts the worker.
        device_kind: `gpu` or `cpu`.
        variables: of the environment, as the run has them; None: not set. Ray sets some itself.
    """

    def __init__(
        self, factory: WorkerFactory, device_kind: str, variables: Mapping[str, str | None]
    ) -> None:
        set_variables(variables)
        self._told: deque[object] = deque()
        logger = logging.getLogger("wenti")
        logger.setLevel(logging.INFO)
        logger.addHandler(_Collector(self._told))
        self._kind = device_kind
        self._worker: Worker | None = None
        self._fault: str | None = None
        try:
            self._worker = factory.start()
        except (WentiError, OSError) as error:
            self._fault = str(error)

    def facts(self) -> PlaceFacts:
        """Return where this place is."""
        context = ray.get_runtime_context()
        names = [node.name for node in find_nodes() if node.node_id == context.get_node_id()]
        cards = context.get_accelerator_ids().get("GPU", [])
        device = f"gpu:{cards[0]}" if self._kind == "gpu" and cards else self._kind
        node = names[0] if names else platform.node()
        return PlaceFacts(node, device, os.getpid(), self._fault)

    def do(self, job: bytes) -> Answer:
        """Return what the worker answers to a pickled job, or the error that ended it."""
        answer: bytes | Exception
        try:
            answer = pickle.dumps(self._work(pickle.loads(job)))  # noqa: S301 our own
        except (WentiError, OSError) as error:
            answer = error
        except Exception as error:  # everything else is not known on the other side
            logging.getLogger("wenti.place").exception("a job ended in an unexpected error")
            answer = WorkerError(describe_error(error))
        return Answer(answer, self.listen())

    def listen(self) -> list[object]:
        """Return what was told since the last time."""
        return [self._told.popleft() for _ in range(len(self._told))]

    def _work(self, job: object) -> object:
        if self._worker is None:
            raise WorkerError(f"this place has no worker: {self._fault}")
        return self._worker.work(job, self._told.append)


class _Collector(logging.Handler):
    """Puts log lines to what the place tells."""

    def __init__(self, told: deque[object]) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(LogLine(record.levelno, record.getMessage()))


def connect(address: str) -> None:
    """Connect this process to the cluster at an address; `auto` as `cluster.address` says.

    Raises:
        ClusterError: there is no such cluster, or it has another version of Ray or Python.
    """
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    except Exception as error:  # of many classes
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ClusterError(
            f"the Ray cluster at {address} (cluster.address) cannot be used: {' '.join(lines)}; "
            "is it running, is this machine one of its nodes, and is RAY_AUTH_MODE=token set here "
            "if the cluster asks for a token? (docs/cluster.md)"
        ) from error


def disconnect() -> None:
    """End the connection, and with it all places that were started by it."""
    ray.shutdown()


def find_nodes() -> list[Node]:
    """Return the nodes that are alive, as far as Ray knows.

    A node is called by the name that it was given (`ray start --node-name`), or else by its host's.
    """
    return [
        Node(one["NodeID"], _name_node(one), one["Resources"])
        for one in ray.nodes()
        if one["Alive"]
    ]


def _name_node(node: Mapping[str, Any]) -> str:
    name, address = node["NodeName"], node["NodeManagerAddress"]
    return str(node["NodeManagerHostname"] if name == address else name)


def call_on_nodes(
    function: Callable[..., Seen], arguments: Mapping[str, tuple[object, ...]]
) -> dict[str, Seen | WentiError]:
    """Return what a function returns on each node, or why it does not.

    Args:
        function: is sent there by its name, and takes no part of the node's resources.
        arguments: by the ids of the nodes.
    """
    remote = ray.remote(num_cpus=0, max_retries=0)(function)
    promised = {
        node: remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(*given)
        for node, given in arguments.items()
    }
    return {node: _read_in_time(reference) for node, reference in promised.items()}


def _read_in_time(reference: ObjectRef) -> Any:  # noqa: ANN401 the function decides
    try:
        return ray.get(reference, timeout=NODE_SECONDS)
    except exceptions.GetTimeoutError:
        return WorkerError(f"it gave no answer in {NODE_SECONDS:.0f} s")
    except exceptions.RayError as error:
        return WorkerError(_shorten(str(error)))


class Places:
    """Starts places that are alike.

    Args:
        needs: what each takes of its node.
        order: with the worker of each, which is sent to each node once.
    """

    def __init__(self, needs: PlaceNeeds, order: ClusterOrder) -> None:
        amounts = dict(needs.resources)
        options: dict[str, Any] = {
            "num_cpus": amounts.pop("CPU", 0),
            "num_gpus": amounts.pop("GPU", 0),
            "resources": {name: value for name, value in amounts.items() if name != "memory"},
            # A lost place is replaced by a new one: Ray's own restart may never be scheduled.
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": 2,  # `do` and `listen`
            "scheduling_strategy": "SPREAD",
        }
        if "memory" in amounts:
            options["memory"] = amounts["memory"]
        if needs.accelerator is not None:
            options["accelerator_type"] = needs.accelerator
        self._actors = ray.remote(Place).options(**options)
        self._arguments = (ray.put(order.factory), order.device_kind, dict(order.variables))

    def start(self) -> ActorHandle:
        """Ask for a place; it starts as soon as a node has room for it."""
        return self._actors.remote(*self._arguments)


def call_with_answer(reference: ObjectRef, take: Callable[[Any], None]) -> None:
    """Call `take` as soon as there is an answer: with that, or a `WorkerError` if a place is gone.

    It is called in a thread of Ray, and must not take long.
    """

    def hear(future: Future[Any]) -> None:
        error = future.exception()
        take(future.result() if error is None else WorkerError(_shorten(str(error))))

    reference.future().add_done_callback(hear)


def _shorten(text: str) -> str:
    """Return Ray's text on one line, without the part that is the same for all errors."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    skipped = ("class_name:", "actor_id:", "pid:", "namespace:", "ip:", "name:")
    return " ".join(line for line in lines if not line.startswith(skipped))[:600]


def kill(places: Iterable[ActorHandle]) -> None:
    """End places, whatever they do."""
    for place in places:
        ray.kill(place, no_restart=True)
