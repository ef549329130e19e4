"""An export made at a place of a Ray cluster, which is of the kind that will run it.

So one in half precision or for TensorRT is tried on such a GPU, even if the run has none on its own
machine.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tasks.addresses import absolute_place
from tasks.cluster.client import do_at_place
from tasks.cluster.messages import Tell
from tasks.config.paths import with_absolute_paths
from tasks.engine.model_files import ModelFiles
from tasks.engine.paddle.installation import find_releases, require_releases
from tasks.export.build import Material, build_export, find_export, gather
from tasks.plan.plan import Plan
from tasks.store.manifest import Manifest

logger = logging.getLogger("wenti.export")


@dataclass(frozen=True)
class ExportOrder:
    """What a place needs to make an export: a `tasks.cluster.messages.WorkerFactory`.

    Attributes:
        plan: whose paths hold in any working folder.
        material: with the content of the model's files, which the node need not have.
        releases: of Paddle and PaddleNLP, which decide the export.
    """

    plan: Plan
    material: Material
    releases: Mapping[str, str]

    @classmethod
    def from_plan(cls, plan: Plan) -> ExportOrder:
        """Return the order for a plan; raises as `export_model` does."""
        settings, material = with_absolute_paths(plan.settings), gather(plan)
        settings = settings.model_copy(update={"predict": settings.predict.at_place()})
        export = replace(plan.export, folder=absolute_place(plan.export.folder))
        carried = replace(material, model=material.model.carried())
        return cls(replace(plan, settings=settings, export=export), carried, find_releases())

    def start(self) -> Exporter:
        """Return what makes the export.

        Raises:
            InstallationError: this node has another Paddle.
            StorageError: this node cannot use the store.
        """
        require_releases(self.releases)
        find_export(self.plan)
        return Exporter(self)


class Exporter:
    """Makes an export: a `tasks.cluster.messages.Worker`."""

    def __init__(self, order: ExportOrder) -> None:
        self._order = order

    def work(self, job: object, tell: Tell) -> Manifest:
        """Return the export, made now unless the store has it: from a place that is lost.

        Raises as `export_model` does. There is one job, and nothing to tell of it.
        """
        del job, tell
        plan, material = self._order.plan, self._order.material
        found = find_export(plan).manifest
        if found is not None:
            return found
        model = material.model
        with model.copied(sorted(model.sha256)) as folder:
            return build_export(plan, replace(material, model=ModelFiles(folder, model.sha256)))


def make_at_place(plan: Plan) -> Manifest:
    """Have a place of the cluster make the export of a plan; return its manifest.

    Raises:
        ClusterError: the cluster cannot be used, or has no room.
        PlaceLostError: the place was lost.

    Otherwise as `export_model`.
    """
    done = do_at_place(plan.settings, ExportOrder.from_plan(plan), "export")
    if not isinstance(done.answer, Manifest):
        raise TypeError(f"no exporter answers with a {type(done.answer).__name__}")
    logger.info("the export was made on %s", done.place)
    return done.answer
