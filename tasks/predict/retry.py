"""Which failures of a shard another attempt can cure: the retry policy."""

from __future__ import annotations

from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from tasks.errors import DiskError, StoreCorruptionError, WorkerError
from tasks.store.claims import Made


def can_retry(task: Task[..., Made | None], run: TaskRun, state: State[Made | None]) -> bool:
    """Tell what another attempt can cure: a dead worker or an I/O error, but no full disk."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, WorkerError | StoreCorruptionError | OSError | DiskError)
