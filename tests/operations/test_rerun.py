"""Finding runs by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import InputError
from tasks.operations.rerun import plan_rerun
from tasks.plan.plan import Plan
from tasks.runs.find import find_run
from tasks.runs.run import Run
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
