"""Whether the nodes of a Ray cluster are alike, and see the same store, for `wenti doctor`."""

from __future__ import annotations

import os
import platform
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath

from tasks.addresses import ObjectPlace, absolute_place
from tasks.cluster.installation import find_ray_faults
from tasks.cluster.messages import Node, PlaceNeeds
from tasks.config.settings import Settings
from tasks.engine.gpu.driver import probe_gpus
from tasks.engine.paddle.installation import describe_paddle, find_version
from tasks.environment import set_variables
from tasks.errors import DeviceError, InstallationError, StorageError, WentiError
from tasks.findings import Finding
from tasks.plan.plan import open_store
from tasks.processes import call_in_child
from tasks.store.files import commit_bytes, staging_folder, storage_of
from tasks.store.objects.connection import describe_stores

ADDRESS, STORE = "cluster.address", "store.path"
TOKEN = "RAY_AUTH_MODE"  # noqa: S105 the name of a variable
COMPARED = ("wenti", "ray", "pyarrow", "paddlenlp")
HERE = "here"
"""Name of the file that this machine writes for all nodes."""

NOT_SEEN = "it does not see the folder of the store that this machine writes to"


@dataclass(frozen=True)
class Probe:
    """Files in a store, one for this machine and one for each node that sees it."""

    folder: PurePath
    prefix: str

    def write(self, name: str) -> None:
        """Write the file of a machine; raise a `StorageError` if that fails."""
        commit_bytes(self._place(name), name.encode())

    def has(self, name: str) -> bool:
        """Return whether this machine can read the file of another; raise as `Storage.read`."""
        try:
            return storage_of(self.folder).read(self._place(name)) == name.encode()
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Delete all files."""
        storage = storage_of(self.folder)
        for place in storage.list_folder(self.folder):
            if place.name.startswith(self.prefix):
                storage.delete(place)

    def _place(self, name: str) -> PurePath:
        return self.folder / f"{self.prefix}{name}"


@dataclass(frozen=True)
class NodeSight:
    """What a node has, and why it cannot use the store.

    Attributes:
        versions: of Python, Paddle and `COMPARED`.
        gpus: the names of its GPUs.
        store_fault: None if it has read and written in the folder that this machine has made.
    """

    versions: Mapping[str, str]
    gpus: tuple[str, ...]
    store_fault: str | None = None


@dataclass(frozen=True)
class Survey:
    """The nodes of a cluster, what a place takes, and what each node says or why it says nothing.

    `seen` is by the ids of the nodes.
    """

    nodes: tuple[Node, ...]
    needs: PlaceNeeds
    seen: Mapping[str, NodeSight | WentiError]

    @property
    def places(self) -> int:
        """How many places fit on all nodes together."""
        return sum(self.needs.count_on(node.resources) for node in self.nodes)


def examine_cluster(settings: Settings) -> list[Finding]:
    """Return what speaks for and against the cluster that a config names."""
    if faults := find_ray_faults():
        return faults
    try:
        with _shared_files(open_store(settings).root) as probe:
            own = look_at_node(probe, HERE, {})
            found = call_in_child(survey, settings, probe)
            written = {node_id for node_id in found.seen if probe.has(node_id)}
    except (StorageError, InstallationError) as error:
        return [Finding(STORE, str(error), "choose a place that you can write to")]
    except WentiError as error:
        return [Finding(ADDRESS, str(error), "or set predict.executor=local")]
    return [*describe_survey(settings, found, own, written), *check_token(len(found.nodes))]


@contextmanager
def _shared_files(root: PurePath) -> Iterator[Probe]:
    """Yield files in a store, of which this machine has written its own; delete them at the end."""
    if not isinstance(root, ObjectPlace):
        with staging_folder(root) as staging:
            probe = Probe(absolute_place(staging), "")
            probe.write(HERE)
            yield probe
        return
    # A claim that nobody holds: if this process is killed, gc removes it.
    probe = Probe(root / "claims", f".doctor-{secrets.token_hex(8)}-")
    try:
        probe.write(HERE)
        yield probe
    finally:
        probe.remove()


def survey(settings: Settings, probe: Probe) -> Survey:
    """Connect to the cluster, and have each node look; for a process of its own.

    Raises:
        ClusterError: the cluster cannot be used.
    """
    from tasks.cluster import runtime

    runtime.connect(settings.cluster.address)
    nodes = tuple(runtime.find_nodes())
    predict = settings.predict
    needs = PlaceNeeds.find(settings.cluster, predict.device_kind, predict.cpu_threads, nodes)
    fitting = [node for node in nodes if needs.count_on(node.resources)] or nodes
    stores = describe_stores()
    arguments = {node.node_id: (probe, node.node_id, stores) for node in fitting}
    return Survey(nodes, needs, runtime.call_on_nodes(look_at_node, arguments))


def look_at_node(probe: Probe, name: str, variables: Mapping[str, str | None]) -> NodeSight:
    """Return what the machine that calls this has and sees; leaves a file of this name.

    It needs `variables` of the environment for that.
    """
    set_variables(variables)
    try:
        gpus = tuple(gpu.name for gpu in probe_gpus().gpus)
    except DeviceError:
        gpus = ()
    versions = {"python": platform.python_version(), "paddle": describe_paddle()}
    versions |= {package: find_version(package) for package in COMPARED}
    return NodeSight(versions, gpus, _find_store_fault(probe, name))


def _find_store_fault(probe: Probe, name: str) -> str | None:
    try:
        if not probe.has(HERE):
            return NOT_SEEN
        probe.write(name)  # which would make a folder that is missing
    except (WentiError, OSError) as error:
        return str(error)
    return None


def describe_survey(
    settings: Settings, found: Survey, own: NodeSight, written: set[str]
) -> Iterator[Finding]:
    """Yield what a survey has found; `written` are the ids of the nodes whose file has arrived."""
    nodes = "; ".join(map(str, found.nodes))
    seen = f"{len(found.nodes)} nodes with room for {found.places} places: {nodes}"
    if found.places:
        yield Finding(ADDRESS, seen, severity="ok")
    else:
        remedy = "add nodes (a run waits for them), or change cluster.resources or predict.device"
        yield Finding(ADDRESS, f"{seen}; a place takes {found.needs}", remedy, "warning")
    names = {node.node_id: node.name for node in found.nodes}
    sights: dict[str, NodeSight] = {}
    for node_id, sight in found.seen.items():
        name = names[node_id]
        if isinstance(sight, NodeSight):
            sights[name] = sight
            yield from _compare(name, sight, own, is_here=node_id in written)
        else:
            yield Finding(f"node {name}", str(sight), "install the same Wenti there as here")
    yield from _compare_gpus(settings, sights)


def _compare(name: str, sight: NodeSight, own: NodeSight, is_here: bool) -> Iterator[Finding]:
    unlike = [
        f"{package} is {sight.versions.get(package)}, here it is {ours}"
        for package, ours in own.versions.items()
        if sight.versions.get(package) != ours
    ]
    if unlike:
        remedy = "install the same versions on every node and here: they decide the results"
        yield Finding(f"node {name}", "; ".join(unlike), remedy)
    if fault := sight.store_fault or (None if is_here else NOT_SEEN):
        remedy = (
            "mount one shared folder at the same path on every node; for a store in an object "
            "store, see docs/cluster.md"
        )
        yield Finding(STORE, f"node {name}: {fault}", remedy)


def _compare_gpus(settings: Settings, sights: Mapping[str, NodeSight]) -> Iterator[Finding]:
    if settings.predict.device_kind == "cpu":
        return
    kinds = defaultdict(list)
    for name, sight in sights.items():
        for gpu in sorted(set(sight.gpus)):
            kinds[gpu].append(name)
    if len(kinds) > 1:
        listed = "; ".join(f"{gpu} on {', '.join(on)}" for gpu, on in sorted(kinds.items()))
        remedy = "the last digits of scores may differ; cluster.accelerator keeps a run to one kind"
        yield Finding("cluster.accelerator", f"unlike GPUs: {listed}", remedy, "warning")


def check_token(nodes: int) -> Sequence[Finding]:
    """Return whether the cluster asks for a token, as far as this machine knows."""
    if os.environ.get(TOKEN) == "token":
        return [Finding(TOKEN, "connections to the cluster have a token", severity="ok")]
    problem = "it is not token: whoever reaches the head can run programs on every node"
    remedy = f"set {TOKEN}=token on every node and here (docs/cluster.md)"
    return [Finding(TOKEN, problem, remedy, "warning" if nodes > 1 else "ok")]
