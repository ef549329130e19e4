from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tasks.errors import InputError
from tasks.predict.shards import has_shards
from tasks.processes import call_in_child
from tasks.runs.find import find_run, list_runs, name_origins, read_records
from tasks.runs.results import RUN_FILE
from tasks.runs.run import commit_json
from tasks.store.layout import Store
from tests.support.run_records import least_record

CLOSED, OPEN = "20260101-000000-aaaaaa", "20260102-000000-bbbbbb"
NOBODY = 65534


def look_around(root: Path) -> tuple[list[str], str, bool]:
    """What somebody who is not root finds."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    store = Store(root)
    try:
        find_run("no such run", store)
    except InputError as error:
        message = str(error)
    found = [record.run_id for record in read_records(store)]
    return found, message, has_shards(root / "predictions" / "closed")


@pytest.fixture
def root() -> Iterator[Path]:
    """A store that holds a run and shards of another user, who has closed them."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with TemporaryDirectory(prefix="wenti-test-") as folder:  # pytest's own are closed to others
        store = Path(folder)
        store.chmod(0o755)
        for run_id in (CLOSED, OPEN):
            commit_json(store / "runs" / run_id / RUN_FILE, least_record(run_id=run_id))
        (store / "predictions" / "closed").mkdir(parents=True)
        for closed in (store / "runs" / CLOSED, store / "predictions" / "closed"):
            closed.chmod(0o700)
        yield store


def test_what_another_user_has_closed_is_skipped(root: Path) -> None:
    found, message, has_any = call_in_child(look_around, root)
    assert (found, has_any) == ([OPEN], False)
    assert f"newest: {OPEN}" in message


def test_a_folder_of_runs_that_cannot_be_listed_holds_none(root: Path) -> None:
    (root / "runs").chmod(0o711)
    found, message, _ = call_in_child(look_around, root)
    assert found == []
    assert "no runs" in message


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    for run_id in (OPEN, CLOSED):
        commit_json(tmp_path / "runs" / run_id / RUN_FILE, {})
    (tmp_path / "runs" / "20260103-000000-cccccc").mkdir()
    assert [folder.name for folder in list_runs(Store(tmp_path))] == [CLOSED, OPEN]


def test_rows_come_from_the_newest_other_run_or_an_earlier_shard_of_this_one(
    tmp_path: Path,
) -> None:
    for run_id, predictions in ((CLOSED, "both"), (OPEN, "both"), ("20260103-0", "own")):
        record = least_record(run_id=run_id, predictions=predictions)
        commit_json(tmp_path / "runs" / run_id / RUN_FILE, record)
    found = name_origins(Store(tmp_path), {"both": 1, "own": 2, "gone": 3}, "20260103-0")
    assert found == {OPEN: 1, "20260103-0": 2, "gone": 3}
    found = name_origins(Store(tmp_path), {"both": 1}, OPEN)
    assert found == {CLOSED: 1}
