"""Two users of one group who share a store; only root can be both."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tasks.errors import StorageError
from tasks.operations.gc import find_garbage, remove
from tasks.runs.run import point_latest
from tasks.store.claims import Claims
from tasks.store.files import adopt_file, staging_folder
from tasks.store.layout import Store
from tasks.store.lock import exclusive_lock, shared_lock
from tasks.store.manifest import Found, Manifest, commit_manifest, find_checkpoint, fingerprint

GROUP, FIRST, SECOND = 61_000, 61_001, 61_002
FOR_GROUP, FOR_OWNER = 0o002, 0o022
DECIDED_BY = {"stage": "test"}
DIGEST = fingerprint(DECIDED_BY)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


def become(user: int, umask: int, act: Callable[[], None]) -> None:
    os.setgroups([])
    os.setgid(GROUP)
    os.setuid(user)
    os.umask(umask)
    act()


def start(user: int, act: Callable[[], None], umask: int = FOR_GROUP) -> BaseProcess:
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=become, args=(user, umask, act))
    process.start()
    return process


def do(user: int, act: Callable[[], None], umask: int = FOR_GROUP) -> int | None:
    process = start(user, act, umask)
    process.join()
    return process.exitcode


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder as docs/operating.md says; pytest's own is closed to others."""
    with tempfile.TemporaryDirectory(prefix="wenti-group-") as name:
        os.chown(name, 0, GROUP)
        Path(name).chmod(0o2775)
        yield Path(name)


def find(folder: Path) -> Found:
    return find_checkpoint(folder / "manifest.json", DIGEST)


def make(folder: Path, seconds: float) -> Manifest:
    with staging_folder(folder) as staging:
        (staging / "file").write_bytes(b"content")
        (folder / "being-made").touch()
        time.sleep(seconds)
        entry = adopt_file(staging / "file", folder / "file")
    manifest = Manifest(kind="test", fingerprint=DIGEST, decided_by=DECIDED_BY, files=(entry,))
    commit_manifest(folder / "manifest.json", manifest)
    return manifest


def run(root: Path, seconds: float = 0.0) -> None:
    """Make a checkpoint as a run does, unless it is there, and point `latest` to the run."""
    store = Store(root / "store")
    folder = Path(store.export_folder(DIGEST))
    with shared_lock(store), Claims(store.claims_folder).beating() as claims:
        claims.once(DIGEST, partial(find, folder), partial(make, folder, seconds))
        Path(store.run_folder("x")).mkdir(parents=True, exist_ok=True)
        point_latest(store, "x")


def run_in_vain(root: Path) -> None:
    with pytest.raises(StorageError, match="permission denied"):
        run(root)


def collect(root: Path) -> None:
    store = Store(root / "store")
    with exclusive_lock(store):
        remove(find_garbage(store))


def test_one_user_takes_over_what_another_was_making(root: Path) -> None:
    first = start(FIRST, partial(run, root, 600.0))
    while not list(root.glob("store/exports/*/being-made")):
        assert first.is_alive()
        time.sleep(0.01)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)  # leaves its claim and its staging folder
    first.join()
    assert list(root.glob("store/exports/*/.staging-*"))

    assert do(SECOND, partial(run, root)) == 0
    assert (root / "store/exports" / DIGEST / "manifest.json").stat().st_uid == SECOND
    assert not list(root.glob("store/exports/*/.staging-*"))
    assert do(FIRST, partial(run, root)) == 0
    assert do(SECOND, partial(collect, root)) == 0
    assert list(root.glob("store/exports/*")) == []
    assert do(FIRST, partial(run, root)) == 0


def test_a_store_for_its_owner_only_says_so_to_others(root: Path) -> None:
    assert do(FIRST, partial(run, root), FOR_OWNER) == 0
    (root / "store/exports" / DIGEST / "manifest.json").unlink()
    assert do(SECOND, partial(run_in_vain, root)) == 0
