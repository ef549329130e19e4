"""A run's requests to a real object store, disturbed at each of them."""

from __future__ import annotations

import base64
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tasks.addresses import ObjectPlace
from tasks.errors import ObjectStoreError, StorageError
from tasks.findings import Finding
from tasks.operations.gc import find_garbage
from tasks.passages.files import find_files
from tasks.runs.find import is_complete
from tasks.runs.results import RUN_FILE
from tasks.store.files import commit_bytes, storage_of
from tasks.store.layout import LATEST, NEWEST, Store
from tasks.store.lock import exclusive_lock
from tasks.store.objects import bucket as buckets
from tasks.store.objects import storage
from tasks.store.objects.connection import connect, open_storage
from tests.support.azurite import KEY, Azurite
from tests.support.checkpoint_maker import BIG, DIGEST, RUN, find
from tests.support.faulty_bucket import FaultyBucket, faulty_bucket
from tests.support.object_servers import ObjectServer
from tests.support.object_stores import SERVERS, hurry, use_server
from tests.support.rehearsal import ROOT

pytestmark = pytest.mark.s3
ANOTHER_SECRET = base64.b64encode(b"another secret").decode()


class Maker:
    """Does the requests of one run after the other, each in its own process."""

    def __init__(self, proxy: FaultyBucket, bucket: str, folder: Path) -> None:
        self._proxy, self._bucket, self._folder, self._numbers = proxy, bucket, folder, count()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.checkpoint_maker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def new_store(self) -> ObjectPlace:
        return ObjectPlace(f"{self._bucket}/kills-{self._process.pid}-{next(self._numbers)}")

    def make(self, root: ObjectPlace, kills_at: int = 0, *, kills_after: bool = False) -> int:
        """Return how the process ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        proxy = self._proxy
        proxy.seen.clear()
        proxy.changes = 0
        proxy.kills_at, proxy.kills_after, proxy.victim = kills_at, kills_after, 0
        self._process.stdin.write(f"{root} {proxy.url} {self._folder / 'cache'}\n")
        self._process.stdin.flush()
        proxy.victim = int(self._process.stdout.readline())
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(params=["seaweedfs", "azurite"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ObjectServer:
    server: ObjectServer = request.getfixturevalue(request.param)
    use_server(server, tmp_path, monkeypatch)  # this process looks at it without the proxy
    return server


@pytest.fixture
def proxy(server: ObjectServer) -> Iterator[FaultyBucket]:
    with faulty_bucket(server.port, server.path) as proxy:
        yield proxy


@pytest.fixture
def maker(proxy: FaultyBucket, server: ObjectServer, tmp_path: Path) -> Iterator[Maker]:
    maker = Maker(proxy, server.bucket, tmp_path)
    yield maker
    maker.close()


def assert_nothing_half_made(root: ObjectPlace) -> None:
    held, store = storage_of(root), Store(root)
    found = find(store)
    assert found.state in {"made", "missing"}
    if is_complete(store.run_folder(RUN)):
        assert found.state == "made"
        run = {place.name for place in held.list_folder(store.run_folder(RUN))}
        assert run == {RUN_FILE, "journal.jsonl", "predictions.txt", "_SUCCESS"}
    if held.is_link(store.run_folder(LATEST)):
        assert is_complete(store.run_folder(LATEST))
    if held.is_link(store.run_folder(NEWEST)):
        assert held.is_file(store.run_folder(NEWEST) / RUN_FILE)


def assert_ends_undisturbed(maker: Maker, root: ObjectPlace) -> None:
    held, store = storage_of(root), Store(root)
    assert maker.make(root) == 0
    assert_nothing_half_made(root)
    assert is_complete(store.run_folder(LATEST))
    assert held.read(store.dataset_folder(DIGEST) / "big") == BIG


# Of the store, what is left before a request is what is left after the one before it.
@pytest.mark.parametrize(
    ("server", "kills_after"),
    [("seaweedfs", False), ("seaweedfs", True), ("azurite", True)],
    indirect=["server"],
)
def test_a_kill_at_any_request_that_changes_something_loses_nothing(
    maker: Maker,
    proxy: FaultyBucket,
    server: ObjectServer,
    kills_after: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert maker.make(maker.new_store()) == 0
    assert sum(server.part in one for one in proxy.seen) == 3
    number, root = 1, maker.new_store()
    # The number of requests varies, because claims are renewed every second.
    while maker.make(root, number, kills_after=kills_after) == -signal.SIGKILL:
        assert_nothing_half_made(root)
        assert_ends_undisturbed(maker, root)  # takes seconds: a killed owner is waited for
        number, root = number + 1, maker.new_store()
    assert number > 20
    hurry(monkeypatch, stale=1.0)
    monkeypatch.setattr(storage, "RECENT_SECONDS", -60)
    storage_of(root).delete(root / "runs")
    left = storage_of(root).list_folder(Store(root).claims_folder)
    with exclusive_lock(Store(root)):
        garbage = [one.path for one in find_garbage(Store(root))]
    assert garbage == [Store(root).dataset_folder(DIGEST), *left]


@pytest.mark.parametrize(
    "refusal", [(503, "SlowDown"), (409, "ConditionalRequestConflict"), (500, "InternalError")]
)
def test_a_server_that_is_too_busy_for_a_moment_is_asked_again(
    proxy: FaultyBucket,
    server: ObjectServer,
    tmp_path: Path,
    refusal: tuple[int, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buckets, "PUT_DELAYS", (0.1, 0.1))
    root = ObjectPlace(f"{server.bucket}/busy-{refusal[0]}")
    connect(root, proxy.url, str(tmp_path / "cache"))
    proxy.refusals = [refusal, refusal]
    commit_bytes(root / "file", b"content")
    assert proxy.refusals == []
    assert storage_of(root).read(root / "file") == b"content"


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_a_bucket_that_is_full_and_a_clock_that_is_wrong_are_readable_errors(
    proxy: FaultyBucket, server: ObjectServer, tmp_path: Path
) -> None:
    root = ObjectPlace(f"{server.bucket}/full")
    connect(root, proxy.url, str(tmp_path / "cache"))
    proxy.refusals = [(403, "QuotaExceeded")]
    with pytest.raises(StorageError, match="the bucket is full; delete something"):
        commit_bytes(root / "file", b"content")
    proxy.refusals = [(403, "RequestTimeTooSkewed")]
    with pytest.raises(StorageError, match="the clock of this machine is wrong; set it"):
        commit_bytes(root / "file", b"content")
    assert not storage_of(root).is_file(root / "file")


def test_a_server_that_stays_too_busy_is_a_readable_error(
    proxy: FaultyBucket, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PUT_DELAYS", (0.1,))
    root = ObjectPlace(f"{server.bucket}/too-busy")
    connect(root, proxy.url, str(tmp_path / "cache"))
    proxy.refusals = [(503, "ServerBusy")] * 100
    with pytest.raises(ObjectStoreError, match=r"fails \(503, ServerBusy\); nothing is damaged"):
        commit_bytes(root / "file", b"content")
    assert not storage_of(root).is_file(root / "file")


def test_the_rest_is_deleted_when_an_object_is_missing(server: ObjectServer) -> None:
    folder = ObjectPlace(f"{server.bucket}/missing")
    there = [folder / f"{number:03d}" for number in range(300)]  # more than one request has
    files = open_storage(folder).files
    files.put(dict.fromkeys(there[1:], b""))
    files.delete(folder, there)
    assert files.below(folder) == []


@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize("server", ["moto", "azurite"], indirect=True)
def test_a_server_that_ignores_conditions_is_refused(
    server: ObjectServer, tmp_path: Path, ignores: bool
) -> None:
    root = ObjectPlace(f"{server.bucket}/conditions")
    with faulty_bucket(server.port, server.path) as proxy:
        connect(root, proxy.url, str(tmp_path / "cache"))
        proxy.ignores_conditions = ignores
        if ignores:
            with pytest.raises(StorageError, match="ignores the conditions of a PUT"):
                storage_of(root).make_root(root)
        else:
            storage_of(root).make_root(root)
        assert not storage_of(root).exists(root)


def test_what_is_refused_says_what_is_missing_and_no_key(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(server.key_variable, ANOTHER_SECRET)
    root = ObjectPlace(f"{server.bucket}/refused")
    connect(root, server.url, str(tmp_path / "another"))
    with pytest.raises(StorageError, match="permission denied") as caught:
        storage_of(root).make_root(root)
    told = str(caught.value).removeprefix(f"cannot write {server.bucket}")
    assert not [one for one in (ANOTHER_SECRET, *server.credentials.values()) if one in told]
    assert caught.value.__cause__ is None


def test_a_container_that_is_missing_is_said_to_be(
    azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(azurite, tmp_path, monkeypatch)
    monkeypatch.setenv(azurite.key_variable, KEY)  # who may see all containers
    root = ObjectPlace("az://wenti-none/store")
    connect(root, azurite.url, str(tmp_path / "cache"))
    assert "no such container" in str(find_files(root / "a.jsonl"))
    for attempt in (
        storage_of(root).make_root,
        storage_of(root).list_folder,
        storage_of(root).delete,
    ):
        with pytest.raises(StorageError, match="there is no such container"):
            attempt(root)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_why_passages_cannot_be_read_is_a_fault(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = use_server(server, tmp_path, monkeypatch).parent
    commit_bytes(folder / "a.jsonl", b"1")
    commit_bytes(folder / "dt=1/a [1].jsonl", b"22")
    found = find_files(folder)
    assert not isinstance(found, Finding)
    assert [(one.name, one.path.read_bytes()) for one in found] == [
        ("a.jsonl", b"1"),
        ("dt=1/a [1].jsonl", b"22"),
    ]
    assert [one.name for one in found if one.columns] == ["dt=1/a [1].jsonl"]
    missing = ObjectPlace(f"{folder.scheme}://wenti-none/a.jsonl")
    connect(missing, server.url, str(tmp_path / "cache"))
    assert "no such file or folder" in str(find_files(folder / "b"))
    told = str(find_files(missing))
    # Who may not see all buckets may be refused, as by AWS.
    is_refused = server.kind != "moto" and "permission denied" in told
    assert f"no such {folder.noun}" in told or is_refused
    monkeypatch.setenv(server.key_variable, ANOTHER_SECRET)
    connect(folder, server.url, str(tmp_path / "another"))
    if server.kind != "moto":  # which checks no signature
        refused = str(find_files(folder / "a.jsonl"))
        assert "permission denied" in refused
        assert re.search("SignatureDoesNotMatch|AuthorizationFailure", refused)
        assert ANOTHER_SECRET not in refused
