"""The export stage as a Prefect task."""

from __future__ import annotations

import time
from functools import partial

from prefect import Task
from prefect.cache_policies import NO_CACHE

from tasks.export.build import _copy, _make
from tasks.plan.plan import Plan
from tasks.plan.stage_result import StageResult, TimeSpan
from tasks.store.claims import Claims


def export_model(plan: Plan, claims: Claims) -> StageResult:
    """Give the exported model's checkpoint, made now unless the store has it.

    Raises:
        ModelError: PaddleNLP cannot load the model.
        ExportError: the engine cannot export it with these settings, every reason is listed; or a
            faster export does not write what the plain one writes.
        InputError: there are no passages to try a faster export on.
        StorageError: the store cannot be written.
    """
    started = time.monotonic()
    made = claims.once(plan.export.fingerprint, plan.export.find, partial(_make, plan))
    target = plan.settings.export.copy_folder
    if target is not None:
        _copy(plan.export.folder, made.manifest, target)
    return StageResult("export", made, TimeSpan.since(started))


export_task = Task(
    export_model, name="export", task_run_name="export the model", cache_policy=NO_CACHE
)
