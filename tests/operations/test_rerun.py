"""Finding runs by name, and which of their shards are to be made again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import InputError
from tasks.operations.rerun import parse_shards, plan_rerun
from tasks.plan.plan import Plan, make_plan
from tasks.runs.find import find_run
from tasks.runs.run import Run
from tasks.store.manifest import Manifest, commit_manifest
from tests.support.planned_jobs import plan_job, write_job

# Ids of Prefect's flow runs; fixed, because pytest-xdist's processes must agree on test names.
FLOW_RUN = "0197d1f0-5a3c-7c41-9b1e-3f2a8c6d4e01"
OTHER_FLOW_RUN = "0197d1f0-6b4d-7d52-8c2f-4a3b9d7e5f02"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_job(write_job(tmp_path), f"store.path={tmp_path / 'store'}")


def start(plan: Plan, flow_run_id: str) -> Path:
    return Run.start(plan, flow_run_id=flow_run_id).folder.resolve()


def test_a_run_is_found_by_its_own_id_its_folder_and_the_id_that_prefect_has_for_it(
    plan: Plan,
) -> None:
    run, _other = start(plan, FLOW_RUN), start(plan, OTHER_FLOW_RUN)
    for name in (run.name, str(run), FLOW_RUN, FLOW_RUN.upper()):
        assert find_run(name, plan.store) == run
    assert plan_rerun(FLOW_RUN, plan.store).record.run_id == run.name


def test_of_a_run_that_prefect_retried_the_newest_try_is_meant(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = iter(["20261123", "20261125", "20261124"])
    monkeypatch.setattr("tasks.runs.run.new_run_id", lambda _now: f"{next(days)}-010003-ab12cd")
    for _ in range(3):
        start(plan, FLOW_RUN)
    assert find_run(FLOW_RUN, plan.store).name == "20261125-010003-ab12cd"


@pytest.mark.parametrize("name", [OTHER_FLOW_RUN, FLOW_RUN[:-1], "None"])
def test_an_id_that_no_run_has_is_refused_with_the_newest_run(plan: Plan, name: str) -> None:
    run = start(plan, FLOW_RUN)
    with pytest.raises(InputError, match=f"there is no run '{name}' .*; newest: {run.name}"):
        find_run(name, plan.store)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9)), min_size=1, max_size=5))
def test_ranges_are_read_as_the_shards_from_their_start_to_their_end(
    ranges: list[tuple[int, int]],
) -> None:
    text = ",".join(f"{start}-{start + more}" if more else f"{start}" for start, more in ranges)
    expected = [n for start, more in ranges for n in range(start, start + more + 1)]
    assert parse_shards(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("3-1", "3-1 is no range of shards; write 1-3"),
        ("0,9-7", "9-7 is no range of shards; write 7-9"),
        ("", "is not a list"),
        ("one", "is not a list"),
        ("3,", "is not a list"),
        ("-3", "is not a list"),
        ("1-2-3", "is not a list"),
        ("0-99999999999", "is not a list"),  # would fill the memory
    ],
)
def test_what_is_no_list_of_shards_is_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_shards(text)


def load(plan: Plan, rows: int) -> None:
    """Commit a dataset's manifest; its files are not needed to know the shards."""
    details = {"rows_in": rows, "rows": rows, "rejects": 0, "tokens": 0, "longest": 0}
    details |= {"part_rows": [rows], "reject_reasons": {}}
    dataset = plan.dataset
    manifest = Manifest(
        kind="dataset",
        fingerprint=dataset.fingerprint,
        decided_by=dataset.decided_by,
        files=(),
        details=details,
    )
    commit_manifest(dataset.manifest_path, manifest)


@pytest.mark.parametrize(
    ("rows", "shards", "told"),
    [
        (10, [9], "there is no shard 9; the run has shards 0 to 4"),
        (10, [4, 7, 5], "there is no shard 5, 7; the run has shards 0 to 4"),
        (2, [1], "there is no shard 1; the run has only shard 0"),
        (10, range(5, 99), "there is no shard 5, 6, 7, 8, 9, …; the run"),
    ],
)
def test_a_shard_that_the_run_has_not_is_refused_before_anything_starts(
    plan: Plan, rows: int, shards: list[int], told: str
) -> None:
    settings = plan.settings.model_copy(
        update={"shards": plan.settings.shards.model_copy(update={"rows_per_shard": 2})}
    )
    plan = make_plan(settings, plan.model_folder)
    run = start(plan, FLOW_RUN)
    plan_rerun(run.name, plan.store, shards)  # not loaded: the run will find out
    load(plan, rows)
    with pytest.raises(InputError, match=told):
        plan_rerun(run.name, plan.store, shards)
    plan_rerun(run.name, plan.store, [0])


def test_a_rerun_of_latest_says_that_a_newer_run_failed(
    plan: Plan, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter(["20261123-010003-ab12cd", "20261124-010003-ab12cd"])
    monkeypatch.setattr("tasks.runs.run.new_run_id", lambda _now: next(ids))
    good = Run.start(plan)
    good.succeed({"partial": False})
    assert plan_rerun("latest", plan.store).folder.name == good.folder.name
    assert caplog.messages == []
    bad = Run.start(plan)
    bad.fail("full")
    assert plan_rerun("latest", plan.store).folder.name == good.folder.name
    (message,) = caplog.messages
    assert f"the newest run, {bad.folder.name}, failed" in message
    assert plan_rerun("newest", plan.store).folder.name == bad.folder.name
