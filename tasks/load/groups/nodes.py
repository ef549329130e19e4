"""Places on the nodes of a cluster that load groups, beside the processes of the run's machine.

They only help: what a node cannot do, because it does not see the files or because a row is bad,
is done on the machine of the run, which then says why.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread

from tasks.addresses import ObjectPlace, absolute_place
from tasks.cluster.client import ClusterClient, find_variables
from tasks.cluster.messages import ClusterOrder, Done, Tell
from tasks.config.sections.cluster import ClusterSettings
from tasks.errors import InputError, StorageError, WentiError
from tasks.load.dataset import LoadRequest
from tasks.load.groups.processes import MOST_OTHERS, GroupProcesses, WorkerIsGoneError
from tasks.load.groups.work import Load, place_of_group
from tasks.passages.finding.file import InputFile
from tasks.plan.plan import Plan, PlannedCheckpoint
from tasks.store.files import storage_of
from tasks.store.manifest import Manifest, read_manifest
from tasks.store.objects.connection import open_storage

logger = logging.getLogger("wenti.load")

POLL_SECONDS = 1.0
MOST_WAITING_SECONDS = 60.0
"""A cluster that has no room for so long is not used: the machine of the run loads meanwhile."""


@dataclass(frozen=True)
class Nodes:
    """The nodes of a cluster that may load groups.

    Attributes:
        settings: of the cluster.
        export: which is made at a place. Until it is there, none is asked for, so that it need not
            wait for room.
    """

    settings: ClusterSettings
    export: PlannedCheckpoint

    @classmethod
    def of(cls, plan: Plan) -> Nodes | None:
        """Return the nodes that a plan uses; None if it uses none."""
        settings = plan.settings
        return None if settings.predict.executor == "local" else cls(settings.cluster, plan.export)

    @contextmanager
    def helping(self, processes: GroupProcesses, request: LoadRequest, most: int) -> Iterator[None]:
        """Let at most so many places take jobs of the processes in the block."""
        ending, context = Event(), copy_context()
        given = self._help, processes, request, min(most, MOST_OTHERS), ending
        thread = Thread(target=context.run, args=given, name="wenti nodes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()

    def _help(
        self, processes: GroupProcesses, request: LoadRequest, most: int, ending: Event
    ) -> None:
        export = self.export.manifest_path
        try:
            while not storage_of(export).is_file(export):
                if ending.wait(POLL_SECONDS):
                    return
            client = ClusterClient(self._order(request, most))
        except WentiError as error:
            logger.warning("the nodes do not help to load: %s", error)
            return
        places = _Places(client, request)
        for _ in range(client.connected.places):
            processes.add(places)
        ending.wait()
        client.close()
        places.tell()

    def _order(self, request: LoadRequest, most: int) -> ClusterOrder:
        waiting = min(self.settings.wait_for_nodes_seconds, MOST_WAITING_SECONDS)
        own: dict[str, object] = {
            "resources": {"CPU": 1.0},
            "accelerator": None,
            "speculate": False,
        }
        own |= {"places": "all", "wait_for_nodes_seconds": waiting}
        return ClusterOrder(
            settings=self.settings.model_copy(update=own),
            device_kind="cpu",
            cpu_threads=1,
            factory=GroupsOrder.of(request),
            most_places=most,
            variables=find_variables(),
        )


class _Places:
    """The places, each of which does one job at a time; stands for each of them."""

    def __init__(self, client: ClusterClient, request: LoadRequest) -> None:
        self._client, self._request = client, request
        self._done = Counter[str]()
        self._lock = Lock()

    def do(self, job: object) -> Manifest:
        """Return the manifest of a group that a place has loaded; raise as `Worker.do`."""
        if not isinstance(job, Load):
            raise TypeError(f"no place does a {type(job).__name__}")
        try:
            outcome = self._client.do(_for_any_folder(job), lambda *_: None)
        except (WentiError, OSError) as error:
            raise WorkerIsGoneError from error
        if not isinstance(outcome, Done):
            logger.info("%s cannot load a group: %s", outcome.place, outcome.error)
            raise WorkerIsGoneError
        if not isinstance(outcome.answer, Manifest):
            raise TypeError(f"no place answers with a {type(outcome.answer).__name__}")
        place = place_of_group(self._request, job.group)
        if read_manifest(place, outcome.answer.fingerprint) != outcome.answer:
            logger.warning("%s has another store than this machine", outcome.place)
            raise WorkerIsGoneError
        with self._lock:
            self._done[outcome.place] += 1
        return outcome.answer

    def tell(self) -> None:
        """Log what they have done."""
        for place, count in sorted(self._done.items()):
            logger.info("%s has loaded %d groups", place, count)


@dataclass(frozen=True)
class GroupsOrder:
    """What a place needs to load groups: a `tasks.cluster.messages.WorkerFactory`.

    Attributes:
        request: whose folder holds in any working folder, with the files of the tokenizer.
    """

    request: LoadRequest

    @classmethod
    def of(cls, request: LoadRequest) -> GroupsOrder:
        """Return the order for every place.

        Raises:
            ModelError: a file of the tokenizer cannot be read, or has changed.
        """
        folder, tokenizer = absolute_place(request.folder), request.tokenizer.carried()
        return cls(replace(request, folder=folder, tokenizer=tokenizer, columns=None))

    def start(self) -> GroupLoader:
        """Return what loads the groups, in a process that starts with the first one.

        Raises:
            StorageError: this node cannot use the store, or has another one.
        """
        folder = self.request.folder
        if not (isinstance(folder, ObjectPlace) or storage_of(folder).exists(folder)):
            raise StorageError(f"this node does not see the dataset of the run, {folder}")
        return GroupLoader(self.request)


class GroupLoader:
    """Loads one group after the other: a `tasks.cluster.messages.Worker`."""

    def __init__(self, request: LoadRequest) -> None:
        self._processes = GroupProcesses(request, 1, 0)

    def work(self, job: object, tell: Tell) -> object:
        """Return the manifest of a group; raise as `GroupWorker.work`."""
        del tell
        if not isinstance(job, Load):
            raise TypeError(f"no place does a {type(job).__name__}")
        files = tuple((fetch(file), layout) for file, layout in job.group.files)
        (manifest,) = self._processes.do([replace(job, group=replace(job.group, files=files))])
        return manifest


def _for_any_folder(job: Load) -> Load:
    """Return a job with absolute paths."""
    files = tuple(
        (replace(file, path=file.path.absolute()), layout) for file, layout in job.group.files
    )
    return replace(job, group=replace(job.group, files=files))


def fetch(file: InputFile) -> InputFile:
    """Return a file as this machine has it: of an object, a copy.

    Raises:
        InputError: the object is not there any more.
        ObjectStoreError: an object store does not answer.
    """
    if file.address is None:
        return file
    objects = open_storage(file.address).files
    found = objects.find(file.address)
    if found is None:
        raise InputError(f"{file.address} is not there")
    return replace(file, path=objects.fetch([found])[0])
