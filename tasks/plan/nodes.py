"""Planning for the nodes of a cluster, on a machine that has no Paddle of their kind.

Which Paddle makes an export is part of its fingerprint. With `predict.executor: ray`, the nodes
make it and run it, so that their Paddle counts, and the machine of the run needs none.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.cluster.client import do_at_place
from tasks.cluster.installation import find_ray_version
from tasks.cluster.messages import Tell
from tasks.config.settings import Settings
from tasks.engine.paddle.generations.generation import find_generation
from tasks.engine.paddle.installation import builds_of, find_packages, plan_with
from tasks.errors import ClusterError, WentiError
from tasks.findings import Finding


@dataclass
class _Known:
    """Of which settings the nodes were asked last, and what they have."""

    asked: tuple[object, ...] | None = None
    packages: dict[str, str] | None = None


_KNOWN = _Known()


@dataclass(frozen=True)
class PackagesOrder:
    """What a place needs to tell its packages: a `tasks.cluster.messages.WorkerFactory`."""

    def start(self) -> PackagesReader:
        """Return what reads them."""
        return PackagesReader()


class PackagesReader:
    """Reads which packages are installed: a `tasks.cluster.messages.Worker`."""

    def work(self, job: object, tell: Tell) -> dict[str, str]:
        """Return the versions of the installed packages that decide an export."""
        del job, tell
        return find_packages()


def find_node_faults(settings: Settings, most_seconds: float | None = None) -> list[Finding]:
    """Do what `plan_for_nodes` does, and return why it fails.

    It waits at most `most_seconds` for a place, if they are given.
    """
    if most_seconds is not None:
        seconds = min(most_seconds, settings.cluster.wait_for_nodes_seconds)
        cluster = settings.cluster.model_copy(update={"wait_for_nodes_seconds": seconds})
        settings = settings.model_copy(update={"cluster": cluster})
    try:
        plan_for_nodes(settings)
    except WentiError as error:
        remedy = "or install Paddle here, the same as on the nodes"
        return [Finding("cluster.address", str(error), remedy)]
    return []


def plan_for_nodes(settings: Settings) -> bool:
    """Plan from now on with the packages of the nodes, if they are needed; return whether so.

    They are asked once. This machine's own are used if it makes the shards, or has Paddle for the
    kind of device that does.

    Raises:
        ClusterError: the cluster cannot be used, or has another PaddleNLP than this machine.
        WorkerError: the place that was asked was lost.
    """
    packages = _find_needed(settings)
    plan_with(packages)
    find_generation.cache_clear()
    return bool(packages)


def _find_needed(settings: Settings) -> dict[str, str]:
    here, kind = find_packages(), settings.predict.device_kind
    is_fit = any(kind == "cpu" or build.has_cuda for build in builds_of(here))
    if settings.predict.executor == "local" or is_fit or find_ray_version() is None:
        return {}
    cluster = settings.cluster
    asked = (cluster.address, kind, cluster.accelerator, *sorted(cluster.resources.items()))
    if _KNOWN.packages is None or _KNOWN.asked != asked:
        _KNOWN.packages, _KNOWN.asked = _ask(settings), asked
    there = _KNOWN.packages
    ours, theirs = here.get("paddlenlp"), there.get("paddlenlp")
    if ours is not None and ours != theirs:
        raise ClusterError(
            f"PaddleNLP is {ours} here and {theirs or 'not installed'} on the nodes; install the "
            "same version here, or none"
        )
    return there


def _ask(settings: Settings) -> dict[str, str]:
    done = do_at_place(settings, PackagesOrder(), "packages")
    if not isinstance(done.answer, dict):
        raise TypeError(f"no reader of packages answers with a {type(done.answer).__name__}")
    if not builds_of(done.answer):
        raise ClusterError(f"Paddle is not installed on {done.place}; install it on every node")
    return done.answer
