"""A program for tests to disturb: for each line `ADDRESS ENDPOINT CACHE` it does a run's requests.

Each run is a forked process, which saves its imports; obstore must not be forked once it has been
used, so this process never uses it. It answers with the id of the process, and then with the exit
code, or the negative signal number.
"""

from __future__ import annotations

import os
import sys
import traceback

from tasks.addresses import ObjectPlace
from tasks.runs.links import point_latest, point_newest
from tasks.runs.results import RUN_FILE, SUCCESS_FILE
from tasks.runs.run import commit_json
from tasks.store import claims
from tasks.store.claims import Claims, Made
from tasks.store.files import adopt_file, commit_bytes, staging_folder, storage_of
from tasks.store.layout import Store
from tasks.store.lock import shared_lock
from tasks.store.manifest import (
    MANIFEST,
    Found,
    Manifest,
    commit_manifest,
    find_checkpoint,
    fingerprint,
)
from tasks.store.objects import bucket, leases
from tasks.store.objects.connection import connect

DECIDED_BY = {"stage": "test"}
DIGEST = fingerprint(DECIDED_BY)
RUN = "20260101-000000-aaaaaa"
BIG = bytes(range(256)) * (11 << 12)  # 11 MiB: three parts


def find(store: Store) -> Found:
    """Look the checkpoint up."""
    return find_checkpoint(store.dataset_folder(DIGEST) / MANIFEST, DIGEST)


def make(store: Store) -> Manifest:
    """Make the checkpoint: a small file, and one that is uploaded in parts."""
    folder = store.dataset_folder(DIGEST)
    with staging_folder(folder) as staging:
        (staging / "small").write_bytes(b"small")
        (staging / "big").write_bytes(BIG)
        files = tuple(adopt_file(staging / name, folder / name) for name in ("small", "big"))
    manifest = Manifest(kind="test", fingerprint=DIGEST, decided_by=DECIDED_BY, files=files)
    commit_manifest(folder / MANIFEST, manifest)
    return manifest


def make_run(store: Store) -> Made:
    """Do what a run does: lock, record itself, claim and make the checkpoint, seal the results."""
    folder = store.run_folder(RUN)
    with shared_lock(store), Claims(store.claims_folder, RUN).beating() as mine:
        commit_json(folder / RUN_FILE, {"state": "running"})
        point_newest(store, RUN)
        made = mine.once(DIGEST, lambda: find(store), lambda: make(store))
        storage_of(folder).append(folder / "journal.jsonl", b"{}\n")
        commit_bytes(folder / "predictions.txt", b"text")
        commit_json(folder / SUCCESS_FILE, {"files": []})
        point_latest(store, RUN)
    return made


def act(address: str, endpoint: str, cache: str) -> None:
    """Do a run's requests in a store."""
    bucket.LARGE, bucket.PART = 6 << 20, 5 << 20
    leases.STALE_SECONDS = claims.STALE_SECONDS = 1.5
    leases.RENEW_SECONDS = 0.3
    root = ObjectPlace(address)
    connect(root, endpoint, cache)
    make_run(Store(root))


def answer(*where: str) -> None:
    """Do them in a forked process; say which, and how it ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act(*where)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    tell(child)
    tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def tell(number: int) -> None:
    """Answer with a line."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    for line in sys.stdin:
        answer(*line.split())
