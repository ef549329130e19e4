"""`wenti run` with the store on real servers of object stores."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path, PurePath

import pytest

from tasks.addresses import ObjectPlace
from tasks.operations.verify import verify_run
from tasks.runs.find import find_results
from tasks.runs.results import METRICS_FILE
from tasks.store.files import commit_bytes, storage_of
from tasks.store.layout import Store
from tests.support.faulty_bucket import faulty_bucket
from tests.support.object_servers import ObjectServer, S3Server
from tests.support.object_stores import use_server
from tests.support.rehearsal import RESULTS, SHARDS, Rehearsal, made_by

pytestmark = pytest.mark.s3
LAST_MARK = 2 * 2 * 2 + 5
"""The request by which `_SUCCESS` of a data set is stored: each preflight tries both places, by two
requests; then there are the text, its mark that is deleted, `_WRITING` and the file."""

MANIFEST = re.compile(r"shard-\d+-of-\d+\.json")  # of a whole shard, not of a piece


class Bucket:
    """The rehearsal's job with its store in a bucket."""

    def __init__(
        self, rehearsal: Rehearsal, server: ObjectServer, root: ObjectPlace, cache: Path
    ) -> None:
        here = {**rehearsal.environment, server.endpoint_variable: server.url}
        self.server, self.root = server, root
        self.rehearsal = dataclasses.replace(rehearsal, environment={**here, **server.credentials})
        self.reading = dataclasses.replace(rehearsal, environment={**here, **server.reader})
        self.keys = (f"store.endpoint={server.url}", f"store.cache={cache}")

    def run(self, *keys: str) -> str:
        code, messages = self.rehearsal.run(self.root, *self.keys, *keys)
        assert code == 0, messages
        return messages

    def check(self) -> None:
        folder = find_results("latest", Store(self.root))
        local = find_results("latest", Store(self.rehearsal.undisturbed))
        for name in RESULTS:
            assert storage_of(folder).read(folder / name) == Path(local / name).read_bytes(), name
        assert [part for part in verify_run(folder) if part.state != "ok"] == []

    def shards_made(self) -> int:
        folder = find_results("latest", Store(self.root))
        return int(json.loads(storage_of(folder).read(folder / METRICS_FILE))["shards_made"])

    def count_shards(self) -> int:
        predictions = self.root / "predictions"
        folders = storage_of(self.root).list_folder(predictions)
        files = (place for one in folders for place in storage_of(one).list_folder(one))
        return sum(bool(MANIFEST.fullmatch(place.name)) for place in files)


@pytest.fixture
def bucket(
    request: pytest.FixtureRequest,
    rehearsal: Rehearsal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Bucket:
    server: ObjectServer = request.getfixturevalue(getattr(request, "param", "seaweedfs"))
    root = use_server(server, tmp_path, monkeypatch)
    return Bucket(rehearsal, server, root, tmp_path / "cache")


@pytest.mark.parametrize("bucket", ["seaweedfs", "azurite"], indirect=True)
def test_a_run_gives_the_bytes_of_a_local_one_and_the_next_reuses_all(
    bucket: Bucket, tmp_path: Path
) -> None:
    passages, out = bucket.root.parent / "in/passages.jsonl", bucket.root.parent / "out"
    commit_bytes(passages, bucket.rehearsal.passages.read_bytes())
    outputs = [f"aggregate.output_path={out}/q.txt", f"aggregate.output_folder={out}/data"]
    places = [f"dataset.predict_file={passages}", *outputs]
    messages = bucket.run(*places)
    bucket.check()
    assert bucket.shards_made() == SHARDS
    delivered = read_below(out)
    assert delivered.keys() == {"q.txt", "data/_SUCCESS", "data/part-00000.parquet"}
    messages += bucket.run(*places)
    bucket.check()
    assert bucket.shards_made() == 0
    for command in (["status"], ["show"], ["verify"], ["report"], ["compare", "latest"]):
        done = bucket.reading.wenti(*command, "latest", "--store", bucket.root)
        assert done.returncode == 0, done.stderr
        messages += done.stdout + done.stderr
    stored = storage_of(bucket.root).fetch(bucket.root)
    files = [path for path in [*stored.rglob("*"), *tmp_path.rglob("*")] if path.is_file()]
    assert len(files) > 50
    for secret in bucket.server.secrets:
        assert secret not in messages
        assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_passages_that_were_moved_to_a_bucket_leave_nothing_to_make(
    bucket: Bucket, tmp_path: Path
) -> None:
    store, rehearsal = tmp_path / "store", bucket.rehearsal
    shutil.copytree(rehearsal.undisturbed, store, symlinks=True)
    moved = bucket.root.parent / "in/passages.jsonl"
    commit_bytes(moved, rehearsal.passages.read_bytes())
    code, messages = rehearsal.run(store, *bucket.keys, f"dataset.predict_file={moved}")
    assert code == 0, messages
    rehearsal.check(store)
    assert made_by(store, [find_results("latest", Store(store)).name]) == [0]


def read_below(folder: ObjectPlace) -> dict[str, bytes]:
    files = storage_of(folder).fetch(folder)
    found = (one for one in files.rglob("*") if one.is_file())
    return {str(one.relative_to(files)): one.read_bytes() for one in found}


def test_what_is_delivered_to_a_bucket_is_what_is_delivered_here_after_a_kill_too(
    bucket: Bucket, seaweedfs: S3Server, tmp_path: Path
) -> None:
    rehearsal, there, here = bucket.rehearsal, bucket.root.parent / "out", tmp_path / "here"
    store = tmp_path / "store"
    shutil.copytree(rehearsal.undisturbed, store, symlinks=True)

    def places(folder: PurePath) -> list[str]:
        return [f"aggregate.output_path={folder}/q.txt", f"aggregate.output_folder={folder}/data"]

    assert rehearsal.run(store, *places(here))[0] == 0
    with faulty_bucket(seaweedfs.port) as proxy:
        keys = [f"store.endpoint={proxy.url}", *bucket.keys[1:]]
        process = rehearsal.start(store, *keys, *places(there))
        proxy.victim, proxy.kills_at = process.pid, LAST_MARK
        messages = process.communicate(timeout=600)[1]
    assert process.returncode == -signal.SIGKILL, (messages, proxy.seen)
    assert read_below(there).keys() == {"q.txt", "data/_WRITING", "data/part-00000.parquet"}
    code, messages = rehearsal.run(store, *bucket.keys, *places(there))
    assert code == 0, messages
    assert not [secret for secret in bucket.server.secrets if secret in messages]
    found = read_below(there)
    marks = [
        json.loads(found.pop("data/_SUCCESS")),
        json.loads((here / "data/_SUCCESS").read_text()),
    ]
    assert {**marks[0], "run_id": ""} == {**marks[1], "run_id": ""}
    expected = {path for path in here.rglob("*") if path.is_file() and path.name != "_SUCCESS"}
    assert found == {str(path.relative_to(here)): path.read_bytes() for path in expected}
    rehearsal.check(store)


def test_a_run_that_was_killed_is_continued(bucket: Bucket) -> None:
    with bucket.rehearsal.start(bucket.root, *bucket.keys) as process:
        while process.poll() is None and bucket.count_shards() < 1:
            time.sleep(0.2)
        with suppress(ProcessLookupError):  # on a fast machine it may have ended
            os.killpg(process.pid, signal.SIGKILL)
    made = bucket.count_shards()
    assert made > 0
    bucket.run()
    bucket.check()
    assert bucket.shards_made() <= SHARDS - made  # one may have been stored after the kill


def test_a_server_that_is_away_is_a_readable_error(bucket: Bucket, seaweedfs: S3Server) -> None:
    seaweedfs.kill()
    try:
        code, messages = bucket.rehearsal.run(bucket.root, *bucket.keys)
    finally:
        seaweedfs.start()
    assert code == 2, messages
    assert "the object store fails" in messages
    assert "nothing is damaged" in messages
    assert "Traceback" not in messages
