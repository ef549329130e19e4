"""What `wenti status` and `wenti runs` say, of a store with a finished run of the demo."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tasks.errors import InputError
from tasks.operations.runs import summarize_runs
from tasks.operations.status import Status, find_status
from tasks.predict.shards import plan_shards
from tasks.runs.find import find_run, read_record
from tasks.runs.results import METRICS_FILE, RUN_FILE
from tasks.runs.run import commit_json
from tasks.store.claims import Claims
from tasks.store.layout import Store
from tasks.store.manifest import Found
from tests.support.commands import DEMO_ROWS, DEMO_ROWS_PER_SHARD, demo_overrides
from tests.support.rehearsal import ROOT
from tests.support.run_records import least_record
from tests.support.shelf import Shelf

TODAY = date(2026, 11, 23)


def status_of(name: str, store: Path, *overrides: str) -> Status:
    return find_status(name, Store(store), list(overrides), TODAY)


def test_a_run_says_its_own_state_even_when_its_passages_are_gone(
    store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    record = read_record(find_run("latest", Store(store)))
    failed = record.model_copy(
        update={
            "run_id": "20991123-010000-0a1b2c",
            "state": "failed",
            "error": "InputError: no row is usable",
            "config": {"dataset": {"predict_file": "/gone.jsonl"}},
        }
    )
    commit_json(store / "runs" / failed.run_id / RUN_FILE, failed.as_dict())
    status = status_of(failed.run_id, store)
    assert status.run is not None
    assert (status.run.state, status.run.error) == ("failed", "InputError: no row is usable")
    assert [stage.state for stage in status.stages] == ["made", "made", "5 of 5 shards made"]
    answer = status.as_dict()
    assert answer["run"]["state"] == "failed"
    assert answer["shards"][0]["owner"] is None


def test_what_is_being_made_says_by_whom_and_since_when(store: Path) -> None:
    record = read_record(find_run("latest", Store(store)))
    folder = store / "predictions" / record.predictions
    second = plan_shards(DEMO_ROWS, DEMO_ROWS_PER_SHARD)[1]
    (folder / second.manifest_name).unlink()
    claims = Claims(store / "claims", "20991123-010000-0a1b2c")
    seen: list[Status] = []

    def look() -> Found:
        return Found(None)

    def make() -> object:
        seen.append(status_of("latest", store))
        raise InterruptedError

    with claims.beating(), pytest.raises(InterruptedError):
        claims.once(second.claim(record.predictions), look, make)  # type: ignore[arg-type]
    (status,) = seen
    shard = status.shards[1]
    assert shard.state == "in work"
    assert shard.owner is not None
    assert (shard.owner.run, bool(shard.owner.since)) == ("20991123-010000-0a1b2c", True)
    assert status.stages[2].state == "4 of 5 shards made, 1 in work"
    assert "run 20991123-010000-0a1b2c on " in str(shard.owner)
    later = status_of("latest", store)
    assert (later.shards[1].state, later.shards[1].owner) == ("missing", None)


def test_a_config_and_its_run_have_the_same_checkpoints(store: Path) -> None:
    run = status_of("latest", store)
    config = status_of(str(ROOT / "configs/demo.yaml"), store, *demo_overrides(store))
    assert (run.stages, run.shards) == (config.stages, config.shards)
    assert config.run is None


def test_a_name_that_is_neither_says_where_was_looked_and_what_is_near(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WENTI_CONFIGS", str(ROOT / "configs"))
    shelf.run(1, 1, 1)
    with pytest.raises(InputError, match=f"{shelf.store.root}.*config.*did you mean demo"):
        status_of("demoo", Path(shelf.store.root))
    monkeypatch.setenv("WENTI_CONFIGS", str(tmp_path / "none"))
    with pytest.raises(InputError, match=f"{tmp_path / 'none'}.*; known: demo, .*WENTI_CONFIGS"):
        status_of("zzz", Path(shelf.store.root))


def test_runs_are_listed_newest_first_with_their_figures(shelf: Shelf, tmp_path: Path) -> None:
    good = shelf.run(1, 1, 1, config=str(tmp_path / "a.yaml"))
    commit_json(good / METRICS_FILE, {"rows_in": 300, "rejects": 3, "bleu_4": 86.2})
    ended = "2026-11-23T01:02:03+00:00"
    failed = shelf.run(1, 1, 1, config=str(tmp_path / "b.yaml"), is_complete=False)
    record = least_record(failed.name, state="failed", ended=ended, error="full")
    commit_json(failed / RUN_FILE, record)
    damaged = shelf.run(1, 1, 1)
    (damaged / RUN_FILE).write_bytes(b"{")
    (damaged / METRICS_FILE).write_bytes(b"{")
    found = [one.as_dict() for one in summarize_runs(shelf.store, most=9)]
    assert [one["run_id"] for one in found] == [damaged.name, failed.name, good.name]
    assert [one["state"] for one in found] == ["damaged", "failed", "completed"]
    assert (found[1]["seconds"], found[1]["error"]) == (123.0, "full")
    assert (found[2]["rows"], found[2]["rejects"], found[2]["bleu_4"]) == (300, 3, 86.2)
    assert found[2]["config_file"] == str(tmp_path / "a.yaml")
    newest = summarize_runs(shelf.store, most=1)
    assert [one.state.run_id for one in newest] == [damaged.name]
    of_a = summarize_runs(shelf.store, most=9, config=tmp_path / "a.yaml")
    assert [one.state.run_id for one in of_a] == [good.name]
    assert summarize_runs(Store(tmp_path / "nowhere"), most=9) == []
