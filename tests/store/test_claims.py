from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tasks.errors import StoppedError, WorkerError
from tasks.store import claims
from tasks.store.claims import Claims, Owner, find_owner
from tasks.store.files import commit_bytes
from tasks.store.local import LOCAL
from tasks.store.manifest import Found, Manifest, commit_manifest, find_checkpoint, fingerprint

DECIDED_BY = {"stage": "test"}
DIGEST = fingerprint(DECIDED_BY)


def find(folder: Path) -> Found:
    return find_checkpoint(folder / "manifest.json", DIGEST)


def make(folder: Path, seconds: float = 0.0) -> Manifest:
    """Record the process that makes the checkpoint, take some time, and commit."""
    marks = folder.parent / "made"
    marks.mkdir(exist_ok=True)
    (marks / str(os.getpid())).touch()
    time.sleep(seconds)
    entry = commit_bytes(folder / "file", b"content")
    manifest = Manifest(kind="test", fingerprint=DIGEST, decided_by=DECIDED_BY, files=(entry,))
    commit_manifest(folder / "manifest.json", manifest)
    return manifest


def once(root: Path, seconds: float) -> None:
    folder = root / "checkpoint"
    with Claims(root / "claims").beating() as mine:
        mine.once("it", partial(find, folder), partial(make, folder, seconds))


def makers(root: Path) -> list[str]:
    return [path.name for path in (root / "made").iterdir()]


def wait_for_a_maker(root: Path) -> None:
    while not (root / "made").is_dir() or not makers(root):
        time.sleep(0.01)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[BaseProcess]:
    """A process that has claimed the checkpoint and takes a minute to make it."""
    process = multiprocessing.get_context("spawn").Process(target=once, args=(tmp_path, 60.0))
    process.start()
    wait_for_a_maker(tmp_path)
    yield process
    process.kill()
    process.join()


def test_of_several_processes_one_makes_and_the_others_use_it(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=once, args=(tmp_path, 0.5)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(makers(tmp_path)) == 1
    assert find(tmp_path / "checkpoint").manifest is not None
    assert list((tmp_path / "claims").iterdir()) == []


def test_what_another_run_is_making_is_left_to_it_if_there_is_other_work(
    tmp_path: Path, owner: BaseProcess
) -> None:
    folder = tmp_path / "checkpoint"
    with Claims(tmp_path / "claims").beating() as mine:
        assert mine.try_once("it", partial(find, folder), partial(make, folder)) is None
        assert mine.try_once("another", partial(find, folder), partial(make, folder)) is not None


def test_the_claim_of_a_killed_owner_is_free_at_once(tmp_path: Path, owner: BaseProcess) -> None:
    owner.kill()
    owner.join()
    folder = tmp_path / "checkpoint"
    with Claims(tmp_path / "claims").beating() as mine:
        made = mine.try_once("it", partial(find, folder), partial(make, folder))
    assert made is not None
    assert not made.is_reused


def test_a_stopped_owner_is_succeeded_and_does_no_harm_when_it_wakes_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "STALE_SECONDS", 1.0)
    owner = multiprocessing.get_context("spawn").Process(target=once, args=(tmp_path, 2.0))
    owner.start()
    wait_for_a_maker(tmp_path)
    assert owner.pid is not None
    os.kill(owner.pid, signal.SIGSTOP)
    once(tmp_path, 0.0)
    assert len(makers(tmp_path)) == 2
    before = find(tmp_path / "checkpoint")
    os.kill(owner.pid, signal.SIGCONT)
    owner.join()
    assert owner.exitcode == 0
    assert find(tmp_path / "checkpoint") == before


def test_an_owner_that_works_is_waited_for_longer_than_a_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "STALE_SECONDS", 4.0)
    owner = multiprocessing.get_context("spawn").Process(target=once, args=(tmp_path, 6.0))
    owner.start()
    wait_for_a_maker(tmp_path)
    once(tmp_path, 0.0)
    owner.join()
    assert makers(tmp_path) == [str(owner.pid)]


def test_the_end_of_a_run_ends_its_waiting(tmp_path: Path, owner: BaseProcess) -> None:
    folder = tmp_path / "checkpoint"
    with Claims(tmp_path / "claims").beating() as mine:
        threading.Timer(0.5, mine.stop).start()
        with pytest.raises(StoppedError):
            mine.once("it", partial(find, folder), partial(make, folder))


def test_nothing_is_made_or_tried_again_once_a_run_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    with Claims(tmp_path / "claims").beating() as mine:

        def stop_and_die() -> Manifest:
            mine.stop()
            raise WorkerError("its process was ended")

        with pytest.raises(StoppedError):
            mine.once("it", partial(find, folder), stop_and_die)
        with pytest.raises(StoppedError):
            mine.once("it", partial(find, folder), partial(make, folder))
    assert not folder.exists()


def test_a_damaged_checkpoint_is_made_again_and_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    make(folder)
    (folder / "file").write_bytes(b"Content")
    with Claims(tmp_path / "claims").beating() as mine:
        made = mine.once("it", partial(find, folder), partial(make, folder))
    assert made.found.damage is not None
    assert find(folder).manifest == made.manifest


def test_others_see_who_holds_a_claim_and_since_when(tmp_path: Path) -> None:
    place = tmp_path / "claims" / "it"
    seen: list[Owner | None] = []

    def look_and_make() -> Manifest:
        seen.append(find_owner(place))
        return make(tmp_path / "checkpoint")

    assert find_owner(place) is None
    with Claims(tmp_path / "claims", "20261123-010000-0a1b2c").beating() as mine:
        mine.once("it", lambda: Found(None), look_and_make)
        own = find_owner(tmp_path / "claims" / "20261123-010000-0a1b2c")
    assert seen[0] is not None
    assert own is not None
    assert {one.run for one in (seen[0], own)} == {"20261123-010000-0a1b2c"}
    assert seen[0].process == os.getpid()
    assert datetime.fromisoformat(seen[0].since or "") <= datetime.now(UTC)
    assert list((tmp_path / "claims").iterdir()) == []


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"\xff", b'{"run": 1}'])
def test_a_claim_that_does_not_say_whose_it_is_is_still_one(tmp_path: Path, note: bytes) -> None:
    with LOCAL.locks.claim(tmp_path / "it", note):
        assert find_owner(tmp_path / "it") == Owner()
        assert str(Owner()) == "another process"
