"""The lock of a store: runs share it, and who removes from the store has it alone.

Without it, `wenti gc` would take what a run has just made, or is about to reuse, for garbage. The
lock is the kernel's, on an open file: it ends with its process, however that ends, and children
that are spawned do not inherit it.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import InputError, StoreBusyError
from tasks.store.files import storage_faults
from tasks.store.layout import Store

logger = logging.getLogger("wenti.lock")

LOCK_FILE = ".lock"


@contextmanager
def using(store: Store) -> Iterator[None]:
    """Use a store, as a run does; nothing is removed from it meanwhile. Waits for a gc to end.

    Raises:
        StorageError: the store cannot be written.
    """
    with storage_faults(store.root, "store.path"):
        store.root.mkdir(parents=True, exist_ok=True)
    with _opened(store) as lock:
        if not try_lock(lock, fcntl.LOCK_SH):
            logger.info("waiting for the gc of %s to end", store.root)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextmanager
def alone_in(store: Store) -> Iterator[None]:
    """Have a store alone, to remove from it; a run that starts meanwhile waits.

    Raises:
        InputError: there is no such store.
        StoreBusyError: a run is using it, or another gc.
        StorageError: the store cannot be written.
    """
    if not store.root.is_dir():
        raise InputError(f"there is no store in {store.root}; --store names another")
    with _opened(store) as lock:
        if not try_lock(lock, fcntl.LOCK_EX):
            raise StoreBusyError(
                f"a run (or another gc) is using {store.root}; wait for it to end, then try again"
            )
        yield


def is_held(path: Path) -> bool:
    """Tell whether somebody holds a lock on a file; raises `StorageError` if it is closed to us."""
    with storage_faults(path, "store.path"), path.open("r+b") as file:
        return not try_lock(file.fileno(), fcntl.LOCK_EX)


def try_lock(descriptor: int, kind: int) -> bool:
    """Lock an open file, as `fcntl.LOCK_SH` or `LOCK_EX`, unless that means to wait."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _opened(store: Store) -> Iterator[int]:
    path = store.root / LOCK_FILE
    with storage_faults(path, "store.path"):
        # Writable, because NFS grants nobody else a lock to have alone.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
