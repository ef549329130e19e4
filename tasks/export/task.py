"""The export stage as a Prefect task."""

from __future__ import annotations

import time
from functools import partial
from typing import cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from tasks.export.at_place import make_at_place
from tasks.export.build import copy_export, find_export, make_export
from tasks.plan.plan import Plan
from tasks.plan.stage_result import StageResult, TimeSpan
from tasks.retry import task_retries
from tasks.store.claims import Claims


def export_model(plan: Plan, claims: Claims) -> StageResult:
    """Return the checkpoint of the exported model; make it unless the store has it.

    Raises:
        ModelError: PaddleNLP cannot load the model, or it has changed.
        ExportError: the engine cannot export it with these settings (lists every reason), or an
            optimized export does not write the same questions as the plain one.
        InputError: there are no usable passages to try an optimized export on.
        StorageError: the store or `export.inference_model_dir` cannot be written.
        WorkerError: a child process died, or a place of the cluster was lost.
        ClusterError: the cluster cannot be used, or has no room.
    """
    started = time.monotonic()
    # A given export is only copied. Others are made, and tried, where they will run.
    is_here = plan.settings.predict.executor == "local" or plan.given_export is not None
    make = partial(make_export if is_here else make_at_place, plan)
    made = claims.once(plan.export.fingerprint, partial(find_export, plan), make)
    target = plan.settings.export.copy_folder
    if target is not None and plan.given_export is None:
        copy_export(plan, made.manifest, target)
    return StageResult("export", made, TimeSpan.since(started))


def _export(plan: Plan, claims: Claims) -> StageResult:
    result = export_model(plan, claims)
    state: object = Completed(name=result.state_name, message=str(result), data=result)
    return cast(StageResult, state)  # which Prefect gives to the caller


export_task = Task(
    _export,
    name="export",
    task_run_name="export the model",
    cache_policy=NO_CACHE,
    **task_retries(),
)
