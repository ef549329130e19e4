"""Export: from a checkpoint of PaddleNLP to a static graph in the store."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path

from prefect import Task
from prefect.cache_policies import NO_CACHE

from tasks.child import call_in_child
from tasks.claims import Claims
from tasks.engine.export import export_native
from tasks.engine.fake import export_fake
from tasks.plan import Plan, effective_decode
from tasks.stage import StageResult
from tasks.store import (
    MANIFEST,
    Manifest,
    adopt_file,
    commit_file,
    commit_manifest,
    staging_folder,
)

EXPORTERS = {"native": export_native, "fake": export_fake}


def export_model(plan: Plan, claims: Claims) -> StageResult:
    """Give the exported model's checkpoint, made now unless the store has it.

    Raises:
        ModelError: PaddleNLP cannot load the model.
        ExportError: the engine cannot export it with these settings; every reason is listed.
        StorageError: the store cannot be written.
    """
    started = time.monotonic()
    made = claims.once(plan.export.fingerprint, plan.export.find, partial(_make, plan))
    if plan.settings.export.inference_model_dir is not None:
        target = Path(plan.settings.export.inference_model_dir).expanduser()
        _copy(plan.export.folder, made.manifest, target)
    return StageResult("export", made, time.monotonic() - started)


def _make(plan: Plan) -> Manifest:
    export = plan.export
    with staging_folder(export.folder) as staging:
        call_in_child(
            EXPORTERS[plan.settings.export.engine_name],
            plan.model_folder,
            effective_decode(plan.settings.decode),
            staging,
            plan.settings.model.trust_checkpoint,
        )
        written = sorted(staging.iterdir())
        entries = [adopt_file(path, export.folder / path.name) for path in written]
        manifest = Manifest(
            kind="export",
            fingerprint=export.fingerprint,
            decided_by=export.decided_by,
            files=tuple(entries),
        )
        commit_manifest(export.manifest_path, manifest)
    return manifest


def _copy(folder: Path, manifest: Manifest, target: Path) -> None:
    """Commit a second copy of an export, for other programs that load it."""
    for name in (*(entry.name for entry in manifest.files), MANIFEST):
        copy = partial(shutil.copyfile, folder / name)
        commit_file(target / name, copy, setting="export.inference_model_dir")


export_task = Task(
    export_model, name="export", task_run_name="export the model", cache_policy=NO_CACHE
)
