"""Repairing a run whose checkpoints or results are missing or damaged."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from prefect import flow

from flows.outcome import outcome_of
from flows.parameters import STORE
from flows.question_generation import name_rerun, remake
from tasks.addresses import place_at
from tasks.operations.verify import restore_results
from tasks.runs.find import store_of
from tasks.store.lock import shared_lock


@flow(name="repair", flow_run_name=name_rerun, retries=0)
def repair(run: str) -> dict[str, Any]:
    """Remake what is missing from a run, and nothing outside of the store.

    What `aggregate.output_path` and `aggregate.output_folder` name may have newer results by now.

    Args:
        run: The folder of the run.

    Returns:
        `folder` and `metrics` of the new run, and what it raises: as of the flow `rerun`.
    """
    return remake(run, STORE, delivers=False)


def repair_run(folder: PurePath) -> PurePath:
    """Rerun a run, and restore its damaged results from the new run.

    Returns:
        The folder of the new run.

    Raises:
        UnusableError: the inputs of the run have changed.
        ShardsFailedError: some shards failed.
        SuspectError: the questions are beyond a limit of the config.
        StorageError: the store cannot be written.
    """
    fresh = place_at(str(outcome_of(lambda: repair(str(folder)))["folder"]))
    with shared_lock(store_of(folder)):
        restore_results(folder, fresh)
    return fresh
