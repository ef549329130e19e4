"""Repairing a run whose checkpoints or results are missing or damaged."""

from __future__ import annotations

from pathlib import Path, PurePath

from flows.question_generation import rerun
from tasks.operations.verify import restore_results
from tasks.runs.find import store_of
from tasks.store.lock import shared_lock


def repair_run(folder: PurePath) -> Path:
    """Rerun a run, and restore its damaged results from the new run.

    Returns:
        The folder of the new run.

    Raises:
        UnusableError: the inputs of the run have changed.
        ShardsFailedError: some shards failed.
        StorageError: the store cannot be written.
    """
    fresh = Path(rerun(str(folder))["folder"])
    with shared_lock(store_of(folder)):
        restore_results(folder, fresh)
    return fresh
