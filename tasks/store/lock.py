"""The lock of a store: runs share it, and whatever deletes from the store holds it exclusively.

Without it, `wenti gc` could delete what a run has just made or is about to reuse.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from tasks.errors import InputError, StoreBusyError
from tasks.store.files import storage_of
from tasks.store.layout import Store

logger = logging.getLogger("wenti.lock")

LOCK_FILE = ".lock"


@contextmanager
def shared_lock(store: Store) -> Iterator[None]:
    """Hold the store's lock for a run, so that nothing is deleted; wait for a gc to end.

    The folder of the store is made if needed.

    Raises:
        StorageError: the store cannot be written.
    """
    storage, place = storage_of(store.root), store.root / LOCK_FILE
    storage.make_root(store.root)
    with storage.locks.lock(place, is_shared=True, waits=False) as is_held:
        if is_held:
            yield
            return
    logger.info("waiting for the gc of %s to end", store.root)
    with storage.locks.lock(place, is_shared=True, waits=True):
        yield


@contextmanager
def reading_lock(store: Store) -> Iterator[None]:
    """Hold the lock as a run does, unless nothing was ever made in the store; make nothing.

    Raises:
        StorageError: the lock cannot be used.
    """
    is_used = storage_of(store.root).is_file(store.root / LOCK_FILE)
    with shared_lock(store) if is_used else nullcontext():
        yield


@contextmanager
def exclusive_lock(store: Store) -> Iterator[None]:
    """Hold the store's lock for a gc; runs that start meanwhile wait for it to end.

    Raises:
        InputError: there is no such store.
        StoreBusyError: a run or another gc is using it.
        StorageError: the store cannot be written.
    """
    storage = storage_of(store.root)
    if not storage.exists(store.root):
        raise InputError(f"there is no store in {store.root}; --store names another")
    with storage.locks.lock(store.root / LOCK_FILE, is_shared=False, waits=False) as is_held:
        if not is_held:
            raise StoreBusyError(
                f"a run (or another gc) is using {store.root}; wait for it to end, then try again"
            )
        yield
