"""What every storage does: in a file system, in memory by obstore, on real S3 servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

from tasks.errors import StoreBusyError
from tasks.operations.gc import find_garbage, remove
from tasks.store.claims import Claims, find_owner
from tasks.store.files import (
    adopt_file,
    commit_bytes,
    commit_file,
    describe_file,
    staging_folder,
    storage_of,
)
from tasks.store.layout import LATEST, Store
from tasks.store.lock import exclusive_lock, shared_lock
from tasks.store.manifest import Found, Manifest, commit_manifest, find_checkpoint, fingerprint
from tasks.store.storage import Storage
from tests.support.object_stores import EVERY_KIND, hurry, stores

DECIDED_BY = {"stage": "test"}
DIGEST = fingerprint(DECIDED_BY)


@pytest.fixture(params=EVERY_KIND)
def root(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PurePath]:
    yield from stores(request, tmp_path, monkeypatch)


@pytest.fixture
def storage(root: PurePath) -> Storage:
    storage = storage_of(root)
    storage.make_root(root)
    return storage


def find(folder: PurePath) -> Found:
    return find_checkpoint(folder / "manifest.json", DIGEST)


def make(folder: PurePath) -> Manifest:
    entry = commit_bytes(folder / "file", b"content")
    manifest = Manifest(kind="test", fingerprint=DIGEST, decided_by=DECIDED_BY, files=(entry,))
    commit_manifest(folder / "manifest.json", manifest)
    return manifest


def test_a_file_is_there_whole_after_its_commit(root: PurePath, storage: Storage) -> None:
    place = root / "predictions" / "part"
    entry = commit_bytes(place, b"12345")
    assert (entry.name, entry.size) == ("part", 5)
    assert storage.read(place) == storage.fetch(place).read_bytes() == b"12345"
    assert describe_file(place) == entry
    assert storage.is_file(place)
    assert not storage.exists(place)
    assert not storage.is_folder(place)
    assert storage.size(place) == storage.size(root / "predictions") == 5
    commit_bytes(place, b"67")
    assert storage.read(place) == storage.fetch(place).read_bytes() == b"67"
    assert describe_file(place).size == 2


def test_what_fails_its_check_is_not_committed(root: PurePath, storage: Storage) -> None:
    place = root / "predictions" / "part"
    commit_bytes(place, b"old")

    def check(path: Path) -> None:
        raise ZeroDivisionError(path.read_bytes())

    with pytest.raises(ZeroDivisionError, match="new"):
        commit_file(place, lambda path: path.write_bytes(b"new") and None, check)
    assert storage.read(place) == b"old"
    assert storage.list_folder(place.parent) == [place]


def test_what_is_missing_is_told(root: PurePath, storage: Storage) -> None:
    place = root / "runs" / "part"
    for act in (storage.read, storage.describe):
        with pytest.raises(FileNotFoundError):
            act(place)
    assert not storage.fetch(place).exists()
    assert not storage.is_file(place)
    assert not storage.exists(place)
    assert storage.list_folder(place) == []
    storage.delete(place)
    storage.delete_file(place, "store.path")


def test_a_folder_lists_what_is_in_it(root: PurePath, storage: Storage) -> None:
    folder = root / "datasets"
    for name in ("b", "a", "c/d", "c/e/f"):
        commit_bytes(folder / name, name.encode())
    commit_bytes(root / "datasets-2", b"")
    assert storage.list_folder(folder) == [folder / name for name in "abc"]
    assert storage.exists(folder)
    assert storage.is_folder(folder / "c")
    assert storage.size(folder) == 10
    local = storage.fetch(folder)
    assert sorted(path.relative_to(local).as_posix() for path in local.rglob("[a-f]")) == [
        *("a", "b", "c", "c/d", "c/e", "c/e/f"),
    ]
    assert (local / "c/e/f").read_bytes() == b"c/e/f"
    storage.delete(folder)
    assert not storage.exists(folder)
    assert storage.is_file(root / "datasets-2")


def test_a_folder_that_was_emptied_holds_nothing(root: PurePath, storage: Storage) -> None:
    folder = root / "claims"
    for name in ("one", "two"):
        commit_bytes(folder / name, b"")
        storage.delete_file(folder / name, "store.path")
    assert storage.list_folder(folder) == []
    assert storage.size(folder) == 0
    assert find_garbage(Store(root)) == []


def test_staged_files_are_adopted_and_the_rest_disappears(root: PurePath, storage: Storage) -> None:
    folder = root / "exports"
    with staging_folder(folder) as staging:
        (staging / "wanted").write_bytes(b"wanted")
        (staging / "unwanted").write_bytes(b"unwanted")
        assert adopt_file(staging / "wanted", folder / "named").size == 6
    assert not staging.exists()
    assert storage.list_folder(folder) == [folder / "named"]
    assert storage.read(folder / "named") == b"wanted"


def test_a_growing_file_is_read_as_far_as_it_goes(root: PurePath, storage: Storage) -> None:
    folder = root / "runs" / "20260101-000000-aaaaaa"
    commit_bytes(folder / "run.json", b"{}")
    for line in (b"one\n", b"two\n"):
        storage.append(folder / "journal", line)
    assert storage.read(folder / "journal") == b"one\ntwo\n"
    storage.append(folder / "journal", b"three\n")
    assert folder / "journal" in storage.list_folder(folder)
    assert storage.size(folder) == 16
    storage.point(root / "runs" / LATEST, folder.name)
    storage.append(folder / "journal", b"4\n")
    assert storage.read(root / "runs" / LATEST / "journal") == b"one\ntwo\nthree\n4\n"
    storage.delete(folder)
    assert not storage.exists(folder)


def test_a_pointer_leads_to_a_run_and_can_be_moved(root: PurePath, storage: Storage) -> None:
    runs, link = root / "runs", root / "runs" / LATEST
    commit_bytes(runs / "one" / "file", b"1")
    commit_bytes(runs / "two" / "file", b"2")
    for name in ("one", "two"):
        storage.point(link, name)
        assert storage.is_link(link)
        assert not storage.is_folder(link)
        assert storage.exists(link)
        assert storage.resolve(link) == storage.resolve(runs / name)
        assert storage.read(link / "file") == storage.read(runs / name / "file")
        assert storage.list_folder(link) == [link / "file"]
        assert storage.is_file(link / "file")
    assert storage.size(runs) >= 2
    storage.delete(runs / "two")
    assert storage.is_link(link)
    assert not storage.exists(link)
    assert not storage.is_file(link / "file")
    storage.delete_file(link, "store.path")
    assert not storage.is_link(link)
    assert storage.exists(runs / "one")


def test_runs_use_a_store_together_and_gc_alone(root: PurePath, storage: Storage) -> None:
    store = Store(root)
    commit_bytes(root / "file", b"")
    with (
        shared_lock(store),
        shared_lock(store),
        pytest.raises(StoreBusyError),
        exclusive_lock(store),
    ):
        pass
    with exclusive_lock(store), pytest.raises(StoreBusyError), exclusive_lock(store):
        pass


def test_a_run_waits_for_a_gc(root: PurePath, storage: Storage) -> None:
    commit_bytes(root / "file", b"")
    store, order = Store(root), list[str]()

    def run() -> None:
        with shared_lock(store):
            order.append("run")

    thread = threading.Thread(target=run)
    with exclusive_lock(store):
        thread.start()
        thread.join(0.5)  # a run that does not wait would have ended by then
        order.append("gc")
    thread.join()
    assert order == ["gc", "run"]


def test_of_two_claims_one_is_held(root: PurePath, storage: Storage) -> None:
    place, locks = root / "claims" / "it", storage.locks
    assert not locks.is_claimed(place)
    with Claims(place.parent, "a-run").beating():
        with locks.claim(place, b"who") as mine, locks.claim(place) as other:
            assert mine is not None
            assert other is None
            assert locks.read_note(place) == b"who"
        owner = find_owner(place.with_name("a-run"))
        assert owner is not None
        assert owner.run == "a-run"
    assert not locks.is_claimed(place)
    assert locks.last_renewal(place) is None
    with locks.claim(place) as again:
        assert again is not None


def test_a_claim_is_revoked_unless_it_was_renewed(root: PurePath, storage: Storage) -> None:
    place, locks = root / "claims" / "it", storage.locks
    with locks.claim(place) as late:
        assert late is not None
        seen = locks.last_renewal(place)
        time.sleep(0.2)
        late.renew()
        assert locks.last_renewal(place) != seen
        locks.revoke(place, seen)
        with locks.claim(place) as second:
            assert second is None
        locks.revoke(place, locks.last_renewal(place))
        with locks.claim(place) as second:
            assert second is not None
            time.sleep(0.2)
            late.renew()
            with locks.claim(place) as third:
                assert third is None


def test_what_a_late_owner_ends_is_not_the_claim_of_its_successor(
    root: PurePath, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, stale=1.0)
    place, locks = root / "claims" / "it", storage.locks
    with locks.claim(place) as late:
        locks.revoke(place, locks.last_renewal(place))
        successor = locks.claim(place)
        assert successor.__enter__() is not None
        time.sleep(0.7)  # longer than half of what makes a claim stale
        assert late is not None
    with locks.claim(place) as third:
        assert third is None
    successor.__exit__(None, None, None)


def test_a_checkpoint_is_made_once_and_verified(root: PurePath, storage: Storage) -> None:
    folder = root / "datasets" / DIGEST
    with Claims(root / "claims").beating() as mine:
        made = mine.once(DIGEST, lambda: find(folder), lambda: make(folder))
        assert not made.is_reused
        assert mine.once(DIGEST, lambda: find(folder), lambda: make(folder)).is_reused
        commit_bytes(folder / "file", b"Content")
        again = mine.once(DIGEST, lambda: find(folder), lambda: make(folder))
    assert again.found.state == "damaged"
    assert storage.read(folder / "file") == b"content"


def test_garbage_is_found_and_removed(
    root: PurePath, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, stale=1.0)
    make(root / "datasets" / DIGEST)
    commit_bytes(root / "runs" / "20260101-000000-aaaaaa" / "predictions.txt", b"")
    commit_bytes(root / "claims" / "free", b"{}")
    if storage_of(root).is_recent(root):  # an object store keeps for two days what may be in work
        assert find_garbage(Store(root)) == []
        monkeypatch.setattr("tasks.store.objects.storage.RECENT_SECONDS", -60)
    with exclusive_lock(Store(root)):
        garbage = find_garbage(Store(root))
        assert [one.path.name for one in garbage] == ["20260101-000000-aaaaaa", DIGEST, "free"]
        remove(garbage)
        assert find_garbage(Store(root)) == []
