"""Load: from a file of passages, or a data set of PaddleNLP, to tokenised parts in the store."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from prefect import Task
from prefect.cache_policies import NO_CACHE

from tasks.child import call_in_child
from tasks.claims import Claims
from tasks.loading import LoadRequest, load_into
from tasks.plan import Plan
from tasks.stage import StageResult


def load_dataset(plan: Plan, claims: Claims) -> StageResult:
    """Give the checkpoint of the tokenised passages, made now unless the store has it.

    Raises:
        InputError: the passages cannot be read, none is usable, or one is not and
            `dataset.on_bad_row` is `fail`.
        StorageError: the store cannot be written.
    """
    started = time.monotonic()
    make = partial(call_in_child, load_into, plan.store, make_request(plan))
    made = claims.once(plan.dataset.fingerprint, plan.dataset.find, make)
    return StageResult("load", made, time.monotonic() - started)


def make_request(plan: Plan) -> LoadRequest:
    """Say what a child process is to load, tokenise and commit."""
    settings = plan.settings.dataset
    path = settings.predict_file
    return LoadRequest(
        folder=plan.dataset.folder,
        fingerprint=plan.dataset.fingerprint,
        decided_by=plan.dataset.decided_by,
        model_folder=plan.model_folder,
        predict_file=None if path is None else Path(path).expanduser(),
        input_sha256=plan.dataset.decided_by["passages"].get("sha256"),
        **settings.model_dump(exclude={"predict_file"}),
    )


load_task = Task(
    load_dataset, name="load", task_run_name="load the passages", cache_policy=NO_CACHE
)
