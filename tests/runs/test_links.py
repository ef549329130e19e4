"""`latest` and `newest`: the links, and what they mean to commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import InputError
from tasks.plan.plan import Plan
from tasks.runs.find import find_results, find_run
from tasks.runs.links import correct_latest
from tasks.runs.run import Run
from tasks.store.layout import LATEST, NEWEST, Store
from tests.support.planned_jobs import plan_job, write_job
from tests.support.shelf import Shelf

METRICS = {"partial": False}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_job(write_job(tmp_path), f"store.path={tmp_path / 'store'}")


def links(store: Store) -> tuple[str | None, str | None]:
    """Return the names of the runs that `latest` and `newest` lead to."""
    paths = (Path(store.root) / "runs" / name for name in (LATEST, NEWEST))
    latest, newest = (path.readlink().name if path.is_symlink() else None for path in paths)
    return latest, newest


def test_latest_moves_when_a_run_completes_and_newest_when_one_starts(plan: Plan) -> None:
    first = Run.start(plan)
    assert links(plan.store) == (None, first.folder.name)
    first.succeed(METRICS)
    assert links(plan.store) == (first.folder.name, first.folder.name)
    second, third = Run.start(plan), Run.start(plan)
    second.fail("no row is usable")
    assert links(plan.store) == (first.folder.name, third.folder.name)
    third.succeed(METRICS)
    assert links(plan.store) == (third.folder.name, third.folder.name)


def test_of_runs_that_go_on_at_once_latest_is_the_one_that_ended_last(plan: Plan) -> None:
    first, second = Run.start(plan), Run.start(plan)
    second.succeed(METRICS)
    first.succeed(METRICS)
    assert links(plan.store) == (first.folder.name, second.folder.name)


def test_every_command_understands_both_words(shelf: Shelf) -> None:
    good, bad = shelf.run(1, 1, 1), shelf.run(2, 2, 2, is_complete=False)
    assert find_run(LATEST, shelf.store) == find_results(LATEST, shelf.store) == good
    assert find_run(NEWEST, shelf.store) == bad
    with pytest.raises(InputError, match=f"run {bad.name} has no results, it .*`wenti runs`"):
        find_results(NEWEST, shelf.store)


def test_a_run_without_results_is_told_with_the_first_line_of_its_error(plan: Plan) -> None:
    Run.start(plan).fail("SuspectError: the questions are suspect:\n  - unfinished 5 of 5\n")
    with pytest.raises(InputError, match=r"SuspectError: the questions are suspect; `wenti runs`"):
        find_results(NEWEST, plan.store)


def test_without_a_complete_run_latest_says_what_became_of_the_newest(plan: Plan) -> None:
    with pytest.raises(InputError, match=r"there is no run in .*--store or --config"):
        find_run(LATEST, plan.store)
    run = Run.start(plan)
    run.fail("InputError: no row is usable")
    told = f"no run in .* is complete; the newest run, {run.folder.name}, failed.*no row is usable"
    with pytest.raises(InputError, match=told):
        find_run(LATEST, plan.store)


def test_in_an_old_store_latest_leads_to_a_run_that_failed_until_the_next_run(shelf: Shelf) -> None:
    older = shelf.run(1, 1, 1)
    failed = shelf.run(2, 2, 2, is_complete=False)
    latest = Path(shelf.store.root) / "runs" / LATEST
    latest.unlink()
    latest.symlink_to(failed.name)
    assert find_run(LATEST, shelf.store) == older
    assert find_run(NEWEST, shelf.store) == failed
    for _ in range(2):
        correct_latest(shelf.store)
        assert links(shelf.store)[0] == older.name

    (older / "_SUCCESS").unlink()
    correct_latest(shelf.store)
    assert links(shelf.store)[0] is None


def test_a_config_names_its_own_runs(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    mine, other = tmp_path / "mine.yaml", tmp_path / "other.yaml"
    run = shelf.run(1, 1, 1, config=str(mine))
    failed = shelf.run(1, 1, 1, config=str(tmp_path / "x/../mine.yaml"), is_complete=False)
    shelf.run(2, 2, 2, config=str(other))
    assert find_run(LATEST, shelf.store, mine) == run
    assert find_run(NEWEST, shelf.store, mine) == failed
    with pytest.raises(InputError, match=r"there is no run of .*none\.yaml"):
        find_run(LATEST, shelf.store, tmp_path / "none.yaml")


def test_a_name_that_is_nearly_a_run_is_suggested(shelf: Shelf) -> None:
    run = shelf.run(1, 1, 1)
    with pytest.raises(InputError, match=f"{shelf.store.root}; did you mean latest"):
        find_run("lastest", shelf.store)
    with pytest.raises(InputError, match=f"did you mean {run.name}"):
        find_run(run.name[:-1], shelf.store)
