"""Runs that predict while they load: what a kill, and a rule on bad rows, make of that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tasks.engine.fake import FAULTS_VARIABLE
from tasks.load.parts import ROWS_PER_PART
from tests.support.disturbances import find_children, list_digests
from tests.support.rehearsal import Rehearsal

PATIENCE = 600.0
ROWS_PER_SHARD = 2048
RANGES = ROWS_PER_PART // ROWS_PER_SHARD  # of the first part
OPTIONS = (
    f"shards.rows_per_shard={ROWS_PER_SHARD}",
    "predict.batch_size=64",
    "predict.max_tokens_per_batch=65536",
    "shards.commit_seconds=60",  # pieces are whole ranges
)


@pytest.fixture(scope="module")
def large(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """The rehearsal with three parts of passages, the last two rows unusable, and its run."""
    folder = tmp_path_factory.mktemp("large")
    rows = [{"id": f"r{n}", "context": f"长江{n}公里", "answer": f"{n}"} for n in range(26000)]
    lines = [json.dumps(row) for row in (*rows, {"id": "bad"}, {"id": "worse"})]
    (folder / "passages.jsonl").write_text("".join(f"{line}\n" for line in lines))
    job = replace(rehearsal, passages=folder / "passages.jsonl", undisturbed=folder / "undisturbed")
    code, messages = job.run(job.undisturbed, *OPTIONS)
    assert code == 0, messages
    return job


def wait_until(process: subprocess.Popen[str], is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert process.poll() is None, "the run has ended"
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def loading(
    job: Rehearsal, store: Path, *overrides: str
) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """Yield a run that has predicted the first part while its loading was suspended after two."""
    with job.start(store, *OPTIONS, *overrides) as process:
        try:
            wait_until(process, lambda: any(store.glob("datasets/**/part-00001.parquet")))
            loader = next(
                child
                for child in find_children(process.pid)
                if child.name().startswith("process of load")
            )
            loader.suspend()
            wait_until(process, lambda: len(find_pieces(store)) >= RANGES)
            yield process, loader
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def find_pieces(store: Path) -> list[Path]:
    return list(store.glob("predictions/*/piece-*.json"))


def test_a_kill_while_rows_are_loaded_loses_nothing_of_what_was_made_early(
    large: Rehearsal, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with loading(large, store):
        pass
    assert not any(store.glob("datasets/*/manifest.json"))
    faults = tmp_path / "faults.json"  # which would reject a row, if that was generated again
    first = {"row": list_digests(large.undisturbed)[0], "kind": "wrong_shape"}
    faults.write_text(json.dumps({"rows": [first]}))
    code, messages = large.run(store, *OPTIONS, **{FAULTS_VARIABLE: str(faults)})
    assert code == 0, messages
    large.check(store)
    shards, undisturbed = (
        {path.name: path.read_bytes() for path in root.glob("predictions/*/*")}
        for root in (store, large.undisturbed)
    )
    assert shards == undisturbed


def test_a_rule_on_bad_rows_ends_a_run_that_has_predicted_early(
    large: Rehearsal, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with loading(large, store, "dataset.max_rejected=1") as (process, loader):
        loader.resume()
        messages = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 2, messages
    assert "`dataset.max_rejected` is 1" in messages
    assert not any(store.glob("predictions/*/shard-*"))
