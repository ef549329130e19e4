"""Making again what a run's checkpoints and results lack."""

from __future__ import annotations

from pathlib import Path, PurePath

from flows.question_generation import rerun
from tasks.operations.verify import restore_results
from tasks.runs.find import store_of
from tasks.store.lock import shared_lock


def repair_run(folder: PurePath) -> Path:
    """Rerun a run, and put what it lacks of its results back from the new one; return its folder.

    Raises:
        UnusableError: what the run was made from has changed.
        ShardsFailedError: some shards failed.
        StorageError: the store cannot be written.
    """
    fresh = Path(rerun(str(folder))["folder"])
    with shared_lock(store_of(folder)):
        restore_results(folder, fresh)
    return fresh
