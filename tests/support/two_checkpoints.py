"""A program for tests to disturb: it makes two checkpoints and a run with the store's functions.

`python -m tests.support.two_checkpoints` makes a store for each line `RUN_ID FOLDER` of its
standard input and answers with a line of JSON: `exit`, the exit code or the negative signal number,
and `error`, the exception if there was one. Each store is made in a forked process with its own
process group; forking saves the import of pyarrow, which would take most of the time.
"""

from __future__ import annotations

import json
import os
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.runs.links import correct_latest, point_latest, point_newest
from tasks.runs.results import RUN_FILE, SUCCESS_FILE
from tasks.runs.run import commit_json
from tasks.store.files import adopt_file, commit_bytes, describe_file, staging_folder
from tasks.store.layout import Store
from tasks.store.manifest import MANIFEST, Manifest, commit_manifest, find_checkpoint, fingerprint
from tasks.store.storage import FileEntry
from tasks.store.tables import commit_table

SCHEMA = pa.schema([pa.field("text", pa.string())])
DATASET: dict[str, Any] = {"stage": "load", "rows": 300}
PREDICTIONS: dict[str, Any] = {"stage": "predict", "dataset": fingerprint(DATASET)}
SHARD = "shard-00000-of-00001.parquet"
SHARD_MANIFEST = "shard-00000-of-00001.json"


def draw_rows(seed: int) -> pa.RecordBatch:
    """Return random rows, determined by the seed."""
    draw = random.Random(seed)  # noqa: S311 not for secrets
    rows = [{"text": f"{draw.random()}"} for _ in range(DATASET["rows"])]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


BATCHES = [draw_rows(seed) for seed in range(3)]  # before forking: pyarrow imports pandas for it


def make_store(store: Store, run_id: str) -> None:
    """Make missing checkpoints, as a run of the whole chain does, and the run's folder."""
    run = store.run_folder(run_id)
    commit_json(run / RUN_FILE, {"state": "running"})
    point_newest(store, run_id)
    correct_latest(store)
    dataset = store.dataset_folder(fingerprint(DATASET))
    if find_checkpoint(dataset / MANIFEST, fingerprint(DATASET)).manifest is None:
        make_dataset(dataset)
    predictions = store.predictions_folder(fingerprint(PREDICTIONS))
    if find_checkpoint(predictions / SHARD_MANIFEST, fingerprint(PREDICTIONS)).manifest is None:
        make_shard(predictions)
    commit_bytes(run / "predictions.txt", (predictions / SHARD).read_bytes())
    commit_json(run / RUN_FILE, {"state": "completed"})
    files = [describe_file(path).model_dump() for path in sorted(run.glob("[!._]*"))]
    commit_json(run / SUCCESS_FILE, {"files": files})
    point_latest(store, run_id)


def make_dataset(folder: Path) -> None:
    """Make a checkpoint of files adopted from a staging folder, as the load stage does."""
    with staging_folder(folder) as staging:
        for number in range(2):
            commit_table(staging / f"part-{number}", SCHEMA, [BATCHES[number]])
        parts = [adopt_file(staging / f"part-{n}", folder / f"part-{n}.parquet") for n in range(2)]
        commit_manifest(folder / MANIFEST, as_manifest("dataset", DATASET, *parts))


def make_shard(folder: Path) -> None:
    """Make a checkpoint of a table and its manifest, as the predict stage does."""
    shard = commit_table(folder / SHARD, SCHEMA, [BATCHES[2]])
    commit_manifest(folder / SHARD_MANIFEST, as_manifest("shard", PREDICTIONS, shard))


def as_manifest(kind: str, decided_by: dict[str, Any], *files: FileEntry) -> Manifest:
    """Return the manifest of these files."""
    digest = fingerprint(decided_by)
    return Manifest(kind=kind, fingerprint=digest, decided_by=decided_by, files=files)


def describe(error: BaseException) -> dict[str, Any]:
    """Return an exception's classes, its message, and the errnos of it and its causes."""
    behind: list[BaseException] = [error]
    while one := behind[-1].__cause__ or behind[-1].__context__:
        behind.append(one)
    return {
        "classes": [cls.__name__ for cls in type(error).__mro__],
        "text": str(error),
        "errnos": [one.errno for one in behind if isinstance(one, OSError)],
    }


def answer(run_id: str, folder: str) -> dict[str, Any]:
    """Make a store in a forked process; return how it ended."""
    receive, send = os.pipe()
    with warnings.catch_warnings():  # Python 3.12 warns of Arrow's threads, which hold nothing here
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.setsid()
        try:
            make_store(Store(Path(folder)), run_id)
        except Exception as error:  # the test checks it, whatever it is
            os.write(send, json.dumps(describe(error)).encode())
            os._exit(1)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"exit": code, "error": json.loads(said) if said else None}


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(*line.rstrip("\n").split(" ", 1))) + "\n")
        sys.stdout.flush()
