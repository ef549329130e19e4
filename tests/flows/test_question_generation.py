"""What the flow records about a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from prefect import Task

from flows import question_generation
from flows.question_generation import recorded
from tasks.engine.models.registry import QUESTION_MODELS
from tasks.errors import DiskError, DownloadError, InputError, WorkerError
from tasks.export import task as export_stage
from tasks.load import task as load_stage
from tasks.operations.verify import verify_run
from tasks.plan import model
from tasks.runs.find import find_run, get_state
from tasks.runs.run import Run
from tests.support.commands import RunFlow
from tests.support.planned_jobs import plan_job, write_job
from tests.support.rehearsal import ROOT
from tests.support.task_runs import flow_run_of, seen_in_prefect


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


def fail_first(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, errors: Iterator[Exception]
) -> None:
    """Let a function of a module raise errors before it does its work."""
    function: Callable[..., object] = getattr(module, name)

    def attempt(*args: object) -> object:
        for error in errors:
            raise error
        return function(*args)

    monkeypatch.setattr(module, name, attempt)


def without_delays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    task: Task[..., object] = getattr(question_generation, name)
    monkeypatch.setattr(question_generation, name, task.with_options(retry_delay_seconds=0.0))


def test_downloading_exporting_and_loading_are_tried_again_after_what_may_pass(
    run_demo: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_function: object, _name: str, folder: Path) -> None:
        shutil.copytree(ROOT / "data/checkpoint", folder, dirs_exist_ok=True)

    for name in ("download_task", "export_task", "load_task"):
        without_delays(monkeypatch, name)
    monkeypatch.setattr(model, "call_in_child", download)
    faults = {
        (model, "call_in_child"): iter([DownloadError("the network is away"), OSError(5, "disk")]),
        (export_stage, "make_export"): iter([WorkerError("it died"), DiskError("EIO")]),
        (load_stage, "make_request"): iter([DiskError("EIO")]),
    }
    for (module, name), errors in faults.items():
        fail_first(monkeypatch, module, name, errors)
    result = run_demo(
        tmp_path,
        "export.engine=fake",
        "dataset.limit=4",
        f"model.model_name_or_path={QUESTION_MODELS[0]}",
    )
    assert result["metrics"]["predictions"] == 4
    assert [list(errors) for errors in faults.values()] == [[], [], []]
    assert seen_in_prefect(flow_run_of(result), 5) == dict.fromkeys(
        (
            f"download {QUESTION_MODELS[0]}",
            "export the model",
            "load the passages",
            "shard 0 of 1",
            "aggregate the shards",
        ),
        "Completed",
    )


def test_what_another_attempt_cannot_cure_ends_a_run_at_once(
    run_demo: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([InputError("somebody must correct it"), InputError("again")])
    fail_first(monkeypatch, load_stage, "make_request", errors)
    with pytest.raises(InputError, match="somebody must correct it"):
        run_demo(tmp_path, "export.engine=fake", "dataset.limit=4")
    assert len(list(errors)) == 1
