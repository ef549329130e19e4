from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.errors import InputError, StorageError, StoreBusyError
from tasks.store.layout import Store
from tasks.store.local import LOCAL
from tasks.store.lock import exclusive_lock, reading_lock, shared_lock

USE = """
import subprocess, sys
from pathlib import Path
from tasks.store.layout import Store
from tasks.store.lock import exclusive_lock, shared_lock

with {way}(Store(Path({root!r}))):
    child = subprocess.Popen(["sleep", "600"], close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


@contextmanager
def another_process(way: str, store: Store) -> Iterator[subprocess.Popen[str]]:
    """Start a process that holds the lock until its input ends, with a child that outlives it."""
    program = USE.format(way=way, root=str(store.root))
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process
        finally:
            os.kill(child, signal.SIGKILL)


def is_in_use(store: Store) -> bool:
    place = store.root / ".lock"
    with LOCAL.locks.lock(place, is_shared=False, waits=False) as is_held:
        return not is_held


def test_what_only_reads_a_store_keeps_gc_out_and_makes_nothing(store: Store) -> None:
    for root in (store.root, store.root / "missing"):
        before = sorted(Path(store.root).iterdir())
        with reading_lock(Store(root)):
            assert sorted(Path(store.root).iterdir()) == before
    with shared_lock(store):
        pass
    with reading_lock(store):
        assert is_in_use(store)
    assert not is_in_use(store)


def test_runs_use_a_store_together(store: Store) -> None:
    with another_process("shared_lock", store), shared_lock(store), shared_lock(store):
        assert is_in_use(store)
    assert not is_in_use(store)


def test_nobody_is_alone_while_a_run_goes_on_in_this_process_or_another(store: Store) -> None:
    with (
        shared_lock(store),
        pytest.raises(StoreBusyError, match=r"using .*store; wait for it to end"),
        exclusive_lock(store),
    ):
        pass
    with (
        another_process("shared_lock", store),
        pytest.raises(StoreBusyError),
        exclusive_lock(store),
    ):
        pass


def test_two_are_not_alone(store: Store) -> None:
    with (
        another_process("exclusive_lock", store),
        pytest.raises(StoreBusyError),
        exclusive_lock(store),
    ):
        pass


def test_a_run_that_ended_or_failed_is_no_longer_in_the_way(store: Store) -> None:
    with another_process("shared_lock", store) as process:
        process.communicate()
        with exclusive_lock(store):
            pass
    with pytest.raises(ZeroDivisionError), shared_lock(store):
        raise ZeroDivisionError
    with exclusive_lock(store):
        pass


@pytest.mark.parametrize("way", ["shared_lock", "exclusive_lock"])
def test_a_killed_process_holds_nothing_even_if_its_child_lives(store: Store, way: str) -> None:
    with another_process(way, store) as process:
        process.kill()
        process.wait()
        with exclusive_lock(store):
            pass


def test_a_run_waits_for_a_gc_and_says_so(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []
    has_logged = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            has_logged.set()

    def run() -> None:
        with shared_lock(store):
            order.append("run")

    logger, listener = logging.getLogger("wenti.lock"), Listener()
    logger.addHandler(listener)
    thread = threading.Thread(target=run)
    with caplog.at_level(logging.INFO, "wenti.lock"):
        with exclusive_lock(store):
            thread.start()
            has_logged.wait()
            thread.join(0.3)  # a run that does not wait would have ended by then
            order.append("gc")
        thread.join()
    logger.removeHandler(listener)
    assert order == ["gc", "run"]
    assert caplog.messages == [f"waiting for the gc of {store.root} to end"]


def test_a_run_makes_the_store_and_a_gc_does_not(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "store")
    with pytest.raises(InputError, match="there is no store in"), exclusive_lock(store):
        pass
    assert list(tmp_path.iterdir()) == []
    with shared_lock(store):
        assert store.root.is_dir()


def test_a_store_that_cannot_be_written_is_a_readable_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(StorageError, match=r"is a file, not a folder.*store\.path"),
        shared_lock(Store(tmp_path / "file" / "store")),
    ):
        pass


def test_a_claim_is_seen_by_others_while_it_is_held_even_if_they_may_only_read_it(
    tmp_path: Path,
) -> None:
    path, is_claimed = tmp_path / "claim", LOCAL.locks.is_claimed
    assert not is_claimed(path)
    with LOCAL.locks.claim(path, b"who"):
        path.chmod(0o444)
        assert is_claimed(path)
        assert LOCAL.locks.read_note(path) == b"who"
    assert not is_claimed(path)
