"""The links `latest` and `newest` in the folder of a store's runs.

`newest` points to the run that started last, `latest` to the complete run that ended last: a reader
of `latest` finds results at any time, also during a run and after one that failed.
"""

from __future__ import annotations

from tasks.runs.find import is_complete, list_runs
from tasks.store.files import storage_of
from tasks.store.layout import LATEST, NEWEST, Store


def point_newest(store: Store, run_id: str) -> None:
    """Atomically point `newest` to a run that starts.

    Raises:
        StorageError: the store cannot be written.
    """
    _point(store, NEWEST, run_id)


def point_latest(store: Store, run_id: str) -> None:
    """Atomically point `latest` to a run that has completed.

    Raises:
        StorageError: the store cannot be written.
    """
    _point(store, LATEST, run_id)


def correct_latest(store: Store) -> None:
    """Let `latest` point to the newest complete run, or remove it, if its run is not complete.

    In older versions of Wenti, it pointed to the newest run, whatever became of it.

    Raises:
        StorageError: the store cannot be written.
    """
    link = store.run_folder(LATEST)
    storage = storage_of(link)
    if not storage.is_link(link) or is_complete(link):
        return
    complete = [folder.name for folder in list_runs(store) if is_complete(folder)]
    if complete:
        point_latest(store, complete[-1])
    else:
        storage.delete(link)


def _point(store: Store, name: str, run_id: str) -> None:
    link = store.run_folder(name)
    storage_of(link).point(link, run_id)
