"""The load stage: from a file of passages, or a data set of PaddleNLP, to tokenized parts."""

from __future__ import annotations

import time
from functools import partial

from prefect import Task
from prefect.cache_policies import NO_CACHE

from tasks.load.dataset import load_into, make_request
from tasks.plan.plan import Plan
from tasks.plan.stage_result import StageResult, TimeSpan
from tasks.processes import call_in_child
from tasks.store.claims import Claims


def load_dataset(plan: Plan, claims: Claims) -> StageResult:
    """Return the checkpoint of the tokenized passages; make it unless the store has it.

    Raises:
        InputError: the passages cannot be read or changed in the meantime, none is usable, or one
            is not and `dataset.on_bad_row` is `fail`.
        ModelError: the model folder has no usable vocabulary.
        StorageError: the store cannot be written.
        WorkerError: the child process died.
    """
    started = time.monotonic()
    make = partial(call_in_child, load_into, plan.store, make_request(plan))
    made = claims.once(plan.dataset.fingerprint, plan.dataset.find, make)
    return StageResult("load", made, TimeSpan.since(started))


load_task = Task(
    load_dataset, name="load", task_run_name="load the passages", cache_policy=NO_CACHE
)
