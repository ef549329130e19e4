"""What the flow records about a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.question_generation import recorded
from tasks.operations.verify import verify_run
from tasks.runs.find import find_run, get_state
from tasks.runs.run import Run
from tests.support.planned_jobs import plan_job, write_job


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_complete_run_stays_as_its_mark_lists_it_whatever_comes_after(
    tmp_path: Path, error: type[BaseException]
) -> None:
    """Such as Ctrl-C, or an error of Prefect's server, while the run's page is updated."""
    plan = plan_job(write_job(tmp_path), f"store.path={tmp_path / 'store'}")

    def run_and_stop() -> None:
        run = Run.start(plan)
        with recorded(run):
            run.succeed({"partial": False})
            raise error

    with pytest.raises(error):
        run_and_stop()
    folder = find_run("latest", plan.store)
    assert get_state(folder).state == "completed"
    (results,) = (part for part in verify_run(folder) if part.part == "results")
    assert results.state == "ok"


def test_a_run_that_is_stopped_before_it_is_complete_says_so(tmp_path: Path) -> None:
    plan = plan_job(write_job(tmp_path), f"store.path={tmp_path / 'store'}")
    with pytest.raises(KeyboardInterrupt), recorded(Run.start(plan)):
        raise KeyboardInterrupt("SIGTERM")
    assert get_state(find_run("newest", plan.store)).error == "stopped by SIGTERM"
