"""Whether the nodes of a Ray cluster are alike, and see the same store, for `wenti doctor`."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.cluster.installation import find_ray_faults
from tasks.cluster.messages import Node, PlaceNeeds
from tasks.config.settings import Settings
from tasks.engine.gpu.driver import probe_gpus
from tasks.engine.paddle.installation import describe_paddle, find_version
from tasks.errors import DeviceError, StorageError, WentiError
from tasks.findings import Finding
from tasks.plan.model import locate_model
from tasks.plan.plan import open_store
from tasks.processes import call_in_child
from tasks.store.files import staging_folder

ADDRESS, STORE, MODEL = "cluster.address", "store.path", "model.model_name_or_path"
TOKEN = "RAY_AUTH_MODE"  # noqa: S105 the name of a variable
COMPARED = ("wenti", "ray", "pyarrow", "paddlenlp")


@dataclass(frozen=True)
class NodeSight:
    """What a node has, and what it sees of this machine's folders.

    Attributes:
        versions: of Python, Paddle and `COMPARED`.
        gpus: the names of its GPUs.
        has_written: whether it could write into the folder that this machine has made for it.
        has_model: whether it sees the folder of the model.
    """

    versions: Mapping[str, str]
    gpus: tuple[str, ...]
    has_written: bool
    has_model: bool


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
    store = open_store(settings)
    model = locate_model(settings, store).absolute()
    try:
        with staging_folder(store.root) as folder:
            own = look_at_node(folder.absolute(), model, "here")
            found = call_in_child(survey, settings, folder.absolute(), model)
            written = {path.name for path in folder.iterdir()}
    except StorageError as error:
        return [Finding(STORE, str(error), "choose a folder that you can write to")]
    except WentiError as error:
        return [Finding(ADDRESS, str(error), "or set predict.executor=local")]
    return [*describe_survey(settings, found, own, written), *check_token(len(found.nodes))]


def survey(settings: Settings, folder: Path, model: Path) -> Survey:
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
    arguments = {node.node_id: (folder, model, node.node_id) for node in fitting}
    return Survey(nodes, needs, runtime.call_on_nodes(look_at_node, arguments))


def look_at_node(folder: Path, model: Path, name: str) -> NodeSight:
    """Return what the machine that calls this has and sees; leaves a file in the folder."""
    try:
        (folder / name).write_bytes(b"wenti")
        has_written = True
    except OSError:
        has_written = False
    try:
        gpus = tuple(gpu.name for gpu in probe_gpus().gpus)
    except DeviceError:
        gpus = ()
    versions = {"python": platform.python_version(), "paddle": describe_paddle()}
    versions |= {package: find_version(package) for package in COMPARED}
    return NodeSight(versions, gpus, has_written, model.is_dir())


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
    if not (sight.has_written and is_here):
        problem = f"node {name} does not see the folder of the store that this machine writes to"
        yield Finding(STORE, problem, "mount one shared folder at the same path on every node")
    if own.has_model and not sight.has_model:
        problem = f"node {name} does not see the folder of the model"
        yield Finding(MODEL, problem, "put it into a folder that every node sees at the same path")


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
