"""The load stage: from a file of passages, or a data set of PaddleNLP, to tokenized parts."""

from __future__ import annotations

import logging
import time
from functools import partial

from prefect import Task
from prefect.cache_policies import NO_CACHE

from tasks.load.dataset import load_into, make_request
from tasks.load.parts import DatasetDetails
from tasks.plan.plan import Plan
from tasks.plan.stage_result import StageResult, TimeSpan
from tasks.processes import call_in_child
from tasks.store.claims import Claims
from tasks.store.manifest import Manifest

logger = logging.getLogger("wenti.load")


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
    _warn_of_multiline_rows(made.manifest)
    return StageResult("load", made, TimeSpan.since(started))


def _warn_of_multiline_rows(dataset: Manifest) -> None:
    """Warn of rows of several lines: a quote that is not closed can make one row of several."""
    details = DatasetDetails.of(dataset)
    if details.multiline_rows and details.multiline_at:
        shown = ", ".join(f"{first} to {last}" for first, last in details.multiline_at)
        more = " …" if details.multiline_rows > len(details.multiline_at) else ""
        logger.warning(
            "rows of the passages that have several lines: %d (lines %s%s); if a quote is missing"
            " there, they are rows that became one",
            details.multiline_rows,
            shown,
            more,
        )


load_task = Task(
    load_dataset, name="load", task_run_name="load the passages", cache_policy=NO_CACHE
)
