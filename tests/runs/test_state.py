"""How a run goes or how it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.runs.find import get_state
from tasks.runs.record import RunRecord
from tasks.runs.run import Run
from tasks.runs.state import RunState
from tests.support.planned_jobs import plan_job, write_job
from tests.support.run_records import least_record


@pytest.fixture
def run(tmp_path: Path) -> Run:
    plan = plan_job(write_job(tmp_path), f"store.path={tmp_path / 'store'}")
    return Run.start(plan, config_file="/jobs/nightly.yaml")


def test_a_run_is_running_while_its_process_is_and_killed_afterwards(run: Run) -> None:
    with run.claims.beating():
        assert get_state(run.folder).state == "running"
    state = get_state(run.folder)
    assert (state.state, state.seconds, state.config_file) == ("killed", None, "/jobs/nightly.yaml")
    assert "was killed" in str(state)


def test_a_run_that_ended_says_how_long_it_took_and_why_it_failed(run: Run) -> None:
    with run.claims.beating():
        run.fail("InputError: no row is usable")
        assert get_state(run.folder).state == "failed"
    state = get_state(run.folder)
    assert str(state) == f"failed after {state.seconds:.0f} s: InputError: no row is usable"


def test_a_run_without_its_mark_is_not_complete(run: Run) -> None:
    run.succeed({"partial": False})
    assert get_state(run.folder).state == "completed"
    (Path(run.folder) / "_SUCCESS").unlink()
    assert get_state(run.folder).state == "unfinished"


def test_a_run_without_its_failed_shards_is_partial(run: Run) -> None:
    run.succeed({"partial": True, "rows_missing": 6})
    assert get_state(run.folder).state == "partial"


@pytest.mark.parametrize("ended", [None, "", "yesterday", "2026-11-23T00:59:59+00:00"])
def test_a_duration_that_cannot_be_known_is_left_out(ended: str | None) -> None:
    record = RunRecord.model_validate(least_record(ended=ended))
    state = RunState.of(record, is_alive=False, is_complete=True)
    assert (state.seconds, str(state)) == (None, "completed")
