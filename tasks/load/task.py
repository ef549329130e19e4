"""The load stage: from a file of passages, or a data set of PaddleNLP, to tokenized parts."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from tasks.columns.divide import check_divisions
from tasks.columns.store import MOST_COLUMNS, ColumnsDetails
from tasks.escaping import shorten_list
from tasks.load.dataset import make_request
from tasks.load.groups.load import load_columns_into, load_into
from tasks.load.groups.nodes import Nodes
from tasks.load.parts import DatasetDetails, Tell, has_losses
from tasks.load.rules import check_dataset, describe_lines
from tasks.plan.plan import Plan
from tasks.plan.stage_result import StageResult, TimeSpan
from tasks.processes import call_in_child, call_telling_child
from tasks.retry import task_retries
from tasks.store.claims import Claims
from tasks.store.manifest import Found, Manifest

logger = logging.getLogger("wenti.load")


def load_dataset(plan: Plan, claims: Claims, hear: Tell | None = None) -> StageResult:
    """Return the checkpoint of the tokenized passages; make it unless the store has it.

    `hear` is called with each part that is complete before the rest is.

    Raises:
        InputError: the passages cannot be read or changed in the meantime, none is usable, or the
            dataset, made or reused, breaks a rule of `tasks.load.rules.check_dataset`.
        ModelError: the model folder has no usable vocabulary.
        StorageError: the store cannot be written.
        WorkerError: the child process died.
    """
    started = time.monotonic()
    call = call_in_child if hear is None else partial(call_telling_child, hear)
    make = partial(call, load_into, plan.store, make_request(plan), Nodes.of(plan))
    made = claims.once(plan.dataset.fingerprint, partial(find_dataset, plan), make)
    _keep_columns(plan, claims, made.manifest)
    _warn_of_multiline_rows(made.manifest)
    check_dataset(plan.settings.dataset, plan.dataset.folder, made.manifest)
    return StageResult("load", made, TimeSpan.since(started))


def _keep_columns(plan: Plan, claims: Claims, dataset: Manifest) -> None:
    """Keep columns of the passages, unless that was done while they were loaded."""
    if plan.columns is None:
        return
    rows = DatasetDetails.of(dataset).rows_in
    request = make_request(plan)
    make = partial(call_in_child, load_columns_into, plan.store, request, plan.columns, rows)
    kept = claims.once(plan.columns.fingerprint, plan.columns.find, make)
    details = ColumnsDetails.of(kept.manifest)
    check_divisions(plan.settings.aggregate, plan.columns.folder, details)
    if details.names:
        logger.info("columns kept in predictions.parquet: %s", shorten_list(details.names, 10))
    if details.missing:
        names = shorten_list(details.missing, 10)
        logger.warning("no row of the passages has %s of dataset.keep_columns", names)
    if details.left_out:
        logger.warning(
            "only the first %d columns of the passages are kept; name those that you need in"
            " dataset.keep_columns",
            MOST_COLUMNS,
        )


def find_dataset(plan: Plan) -> Found:
    """Look up the dataset of a plan; one that lacks what a rule asks for counts as missing."""
    found = plan.dataset.find()
    if plan.settings.dataset.max_cut is None or found.manifest is None:
        return found
    if has_losses(found.manifest):
        return found
    return Found(None, "an older version of Wenti did not count the rows that it cut")


def _warn_of_multiline_rows(dataset: Manifest) -> None:
    """Warn of rows of several lines: a quote that is not closed can make one row of several."""
    details = DatasetDetails.of(dataset)
    if details.multiline_rows and details.multiline_at:
        logger.warning(
            "rows of the passages that have several lines: %s; if a quote is missing there, they "
            "are rows that became one",
            describe_lines(details.multiline_rows, details.multiline_at),
        )


def _load(plan: Plan, claims: Claims, hear: Tell | None = None) -> StageResult:
    result = load_dataset(plan, claims, hear)
    state: object = Completed(name=result.state_name, message=str(result), data=result)
    return cast(StageResult, state)  # which Prefect gives to the caller


load_task = Task(
    _load,
    name="load",
    task_run_name="load the passages",
    cache_policy=NO_CACHE,
    **task_retries(),
)
