"""Building an export: from a model of PaddleNLP to a static graph in the store."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.engine.batch import Row
from tasks.engine.export.equivalence import (
    REMEDY,
    Reproduction,
    check_equivalence,
    find_problems,
)
from tasks.engine.export.native import export_native
from tasks.engine.export.optimize import optimize_export
from tasks.engine.fake import export_fake
from tasks.engine.faster_transformer.compatibility import FASTER_TRANSFORMER
from tasks.engine.faster_transformer.export import Operators, export_faster_transformer
from tasks.engine.gpu.driver import device_names
from tasks.engine.model_files import TOKENIZER_FILES, ModelFiles
from tasks.engine.models.config import CONFIG_FILES
from tasks.errors import ExportError, WorkerError
from tasks.load.dataset import make_request, read_sample
from tasks.plan.fingerprints import effective_decode, shape_range
from tasks.plan.given_export import COPY_KEY, read_given_export
from tasks.plan.plan import Plan
from tasks.processes import call_in_child
from tasks.store.files import adopt_file, commit_file, staging_folder, storage_of
from tasks.store.manifest import MANIFEST, Details, Found, Manifest, commit_manifest

logger = logging.getLogger("wenti.export")

SAMPLE_ROWS = 256
"""Passages on which an optimized export is compared with the plain one."""


class ExportDetails(Details):
    """What an export's manifest says about an optimized export; empty for a plain one.

    Attributes:
        reproduction: `tasks.engine.export.equivalence.Reproduction.figures`, and `sample`: what
            decides the passages that both exports were run on.
    """

    reproduction: dict[str, Any] | None = None


@dataclass(frozen=True)
class Material:
    """What an export is made of: the model and, for an optimized one, passages to try it on."""

    model: ModelFiles
    sample: Sequence[Row] = ()


def make_export(plan: Plan) -> Manifest:
    """Make the export of a plan and return its manifest; raises as `export_model` does."""
    if plan.given_export is not None:
        return _adopt(plan, plan.given_export)
    return build_export(plan, gather(plan))


def gather(plan: Plan) -> Material:
    """Return what the export of a plan is made of; raises as `export_model` does."""
    if not is_optimized(plan):
        return Material(plan.model_files)
    sample = call_in_child(read_sample, make_request(plan), SAMPLE_ROWS)
    return Material(plan.model_files, sample)


def build_export(plan: Plan, material: Material) -> Manifest:
    """Make the export of a plan from its material; raises as `export_model` does."""
    if is_optimized(plan):
        return _make_optimized(plan, material)
    with staging_folder(plan.export.folder) as staging:
        _export(plan, material.model, staging)
        return _commit(plan, staging, ExportDetails())


def find_export(plan: Plan) -> Found:
    """Look up the export of a plan; an optimized one must still be equivalent by today's limits.

    It was compared with the float32 export on the passages of the run that made it, which its
    manifest names; those of this run can be others.
    """
    found = plan.export.find()
    if found.manifest is None or not is_optimized(plan):
        return found
    reproduction = ExportDetails.of(found.manifest).reproduction
    if reproduction is None:
        return Found(None, "it was never compared with the float32 export")
    problems = find_problems(Reproduction.from_figures(reproduction))
    return Found(None, "; ".join(problems)) if problems else found


def is_optimized(plan: Plan) -> bool:
    """Return whether the plan asks for an optimized export instead of the plain one."""
    settings = plan.settings
    return plan.engine == "native" and (settings.is_half or settings.predict.use_tensorrt)


def _make_optimized(plan: Plan, material: Material) -> Manifest:
    """Make the plain and the optimized export; commit the latter if its questions are the same."""
    settings, folder, rows = plan.settings, plan.export.folder, material.sample
    with staging_folder(folder) as plain, staging_folder(folder) as tuned:
        _export(plan, material.model, plain)
        call_in_child(optimize_export, plain, tuned, settings.is_half, shape_range(settings))
        try:
            reproduction = call_in_child(check_equivalence, plain, tuned, settings.predict, rows)
        except WorkerError as error:
            raise ExportError(
                f"the optimized export does not run here: {error}; {REMEDY}"
            ) from error
        logger.info("%s", reproduction)
        sample = plan.dataset.decided_by["passages"]
        figures = {**reproduction.figures(), "sample": sample}
        return _commit(plan, tuned, ExportDetails(reproduction=figures))


def _commit(plan: Plan, staging: Path, details: ExportDetails) -> Manifest:
    """Move the files of an export into the store and write its manifest."""
    export, written = plan.export, sorted(staging.iterdir())
    manifest = Manifest(
        kind="export",
        fingerprint=export.fingerprint,
        decided_by=export.decided_by,
        files=tuple(adopt_file(path, export.folder / path.name) for path in written),
        details=details.as_dict(),
    )
    commit_manifest(export.manifest_path, manifest)
    return manifest


def _export(plan: Plan, model: ModelFiles, folder: Path) -> None:
    settings, library = plan.settings, plan.settings.export.library
    decode = effective_decode(settings.decode)
    asked = (model, decode, folder)
    if plan.engine != FASTER_TRANSFORMER:
        call_in_child(export_fake if plan.engine == "fake" else export_native, *asked)
        return
    if library is None:
        logger.warning("PaddleNLP builds its operators, unless it has before; it takes minutes")
    digest = None if library is None else str(plan.export.decided_by["decoding_lib"])
    operators = Operators(library, settings.is_half, device_names(settings.predict)[0], digest)
    call_in_child(export_faster_transformer, *asked, operators=operators)


def _adopt(plan: Plan, given: Path) -> Manifest:
    """Copy a given export into the store, byte for byte."""
    manifest, export = read_given_export(given), plan.export
    with staging_folder(export.folder) as staging:
        for entry in manifest.files:
            shutil.copyfile(given / entry.name, staging / entry.name)
            if storage_of(staging).describe(staging / entry.name) != entry:
                raise ExportError(
                    f"{given / entry.name} differs from what {given / MANIFEST} lists: it was "
                    "damaged, or replaced; copy the whole folder again, or export the model again"
                )
        for entry in manifest.files:
            adopt_file(staging / entry.name, export.folder / entry.name)
        commit_manifest(export.manifest_path, manifest)
    return manifest


def copy_export(plan: Plan, manifest: Manifest, target: Path) -> None:
    """Commit a second copy of an export, with its tokenizer, so that it can be used on its own.

    Raises:
        ModelError: a file of the model has changed.
        StorageError: `target` cannot be written.
    """
    folder, model, fetch = (
        plan.export.folder,
        plan.model_files,
        storage_of(plan.export.folder).fetch,
    )
    for entry in manifest.files:
        _commit_copy(target / entry.name, fetch(folder / entry.name))
    for name in (*sorted(TOKENIZER_FILES), *CONFIG_FILES):
        if name in model:
            _commit_copy(target / name, model.read(name))
        else:  # of an earlier export
            storage_of(target).delete_file(target / name, COPY_KEY)
    _commit_copy(target / MANIFEST, fetch(folder / MANIFEST))


def _commit_copy(place: Path, source: Path | bytes) -> None:
    def write(path: Path) -> None:
        if isinstance(source, bytes):
            path.write_bytes(source)
        else:
            shutil.copyfile(source, path)

    commit_file(place, write, setting=COPY_KEY)
