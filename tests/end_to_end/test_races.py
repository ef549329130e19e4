"""Several runs on one store at the same time, with any interleaving."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tasks.engine.fake import FAULTS_VARIABLE
from tasks.store.claims import STALE_SECONDS
from tests.support.rehearsal import SHARDS, Rehearsal, made_by


@pytest.fixture
def slowly(tmp_path: Path) -> dict[str, str]:
    """The environment of a slow engine, so that runs overlap."""
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"seconds_per_batch": 0.3}))
    return {FAULTS_VARIABLE: str(path)}


def run_ids(store: Path) -> list[str]:
    return sorted(path.name for path in store.glob("runs/2*"))


def end(process: subprocess.Popen[str]) -> None:
    messages = process.communicate(timeout=600)[1]
    assert process.returncode == 0, messages


@pytest.mark.parametrize("runs", [2, 3])
def test_runs_that_start_together_share_the_shards_and_all_end_right(
    rehearsal: Rehearsal, tmp_path: Path, slowly: dict[str, str], runs: int
) -> None:
    store = rehearsal.store_without_shards(tmp_path / "store")
    for process in [rehearsal.start(store, **slowly) for _ in range(runs)]:
        end(process)
    assert sum(made_by(store, run_ids(store))) == SHARDS
    for run in run_ids(store):
        rehearsal.check(store, run)


def test_runs_that_start_together_on_an_empty_store_make_each_stage_once(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    processes = [rehearsal.start(store) for _ in range(2)]
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    for stage in ("export", "load"):
        lines = [line for text in said for line in text.splitlines() if f" {stage} " in line]
        assert sum("made" in line for line in lines) == 1, lines
    for run in run_ids(store):
        rehearsal.check(store, run)


def test_a_stopped_run_is_succeeded_and_harms_nothing_when_it_wakes_up(
    rehearsal: Rehearsal, tmp_path: Path, slowly: dict[str, str]
) -> None:
    store = rehearsal.store_without_shards(tmp_path / "store")
    sleeper = rehearsal.start(store, **slowly)
    while not list(store.glob("claims/*-shard-00001-*")):
        assert sleeper.poll() is None
        time.sleep(0.02)
    os.killpg(sleeper.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        end(rehearsal.start(store, **slowly))
        assert time.monotonic() - started > STALE_SECONDS  # it has waited for the stopped run first
        rehearsal.check(store)
    finally:
        os.killpg(sleeper.pid, signal.SIGCONT)
    end(sleeper)
    for run in run_ids(store):
        rehearsal.check(store, run)


@pytest.mark.parametrize("seed", [1])
def test_racing_runs_that_are_stopped_and_continued_at_random_end_right(
    rehearsal: Rehearsal, tmp_path: Path, slowly: dict[str, str], seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 which process and when is all that is drawn
    store = rehearsal.store_without_shards(tmp_path / "store")
    processes = [rehearsal.start(store, **slowly) for _ in range(3)]
    while any(process.poll() is None for process in processes):
        victim = rng.choice(processes)
        if victim.poll() is None:
            os.killpg(victim.pid, signal.SIGSTOP)
            time.sleep(rng.uniform(0, 1.5))
            os.killpg(victim.pid, signal.SIGCONT)
        time.sleep(rng.uniform(0, 0.5))
    for process in processes:
        end(process)
    for run in run_ids(store):
        rehearsal.check(store, run)
