from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from tasks.errors import StoreCorruptionError
from tasks.operations.gc import find_garbage
from tasks.predict.shards import plan_shards
from tasks.runs.find import find_run
from tasks.runs.links import point_latest
from tasks.runs.results import RUN_FILE, SUCCESS_FILE
from tasks.store.layout import Store
from tests.support.shelf import JUNK, KINDS, Shelf, below, litter, read_tree


def test_a_dry_run_says_what_why_and_how_much_and_removes_nothing(shelf: Shelf) -> None:
    shelf.run(1, 1, 1, 1)
    shelf.run(2, 1, 1, 1)
    export = shelf.make("export", 3)
    litter(shelf.folder("dataset", 1))
    before = read_tree(shelf.store.root)
    garbage = {one.path: one for one in find_garbage(shelf.store, keep_runs=1)}
    assert read_tree(shelf.store.root) == before

    dataset = shelf.folder("dataset", 1)
    assert {path: one.why for path, one in garbage.items()} == {
        shelf.runs[0]: "older than the newest complete run",
        shelf.folder("export", 1): "no run refers to it",
        export: "no run refers to it",
        dataset / ".staging-abcd1234": "left by a process that was stopped",
        dataset / JUNK[0]: "left by a process that was stopped",
        dataset / "orphan.parquet": "no manifest names it",
    }
    removed = below(before, shelf.store.root, export)
    assert garbage[export].size == sum(map(len, removed.values()))
    assert garbage[dataset / "orphan.parquet"].size == len(b"junk")


def test_a_claim_that_somebody_holds_is_no_garbage(shelf: Shelf) -> None:
    claims = shelf.store.claims_folder
    claims.mkdir(parents=True)
    (claims / "free").touch()
    with (claims / "held").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert shelf.found() == {"claims/free": "a claim that nobody holds"}


def test_a_damaged_manifest_may_name_any_file_beside_it(shelf: Shelf) -> None:
    shelf.run(1, 1, 1, 1)
    first, _ = plan_shards(20, 10)
    folder = shelf.folder("predictions", 1)
    (folder / first.manifest_name).write_bytes(b"{")
    litter(folder)
    assert {Path(path).name for path in shelf.found()} == {JUNK[0], ".staging-abcd1234"}


def test_a_piece_is_garbage_once_its_shard_is_there(shelf: Shelf) -> None:
    shelf.run(1, 1, 1, 1)
    folder = shelf.folder("predictions", 1)
    made = next(folder.glob("shard-*.json")).stem.removeprefix("shard-")
    names = [f"piece-{made}-0000.json", f"piece-{made}-0123abcd.parquet"]
    for name in names:
        (folder / name).write_bytes(b"")
    found = {Path(path).name: why for path, why in shelf.found().items()}
    assert found == dict.fromkeys(names, "a piece of a shard that is there")


def test_the_kept_columns_of_a_run_are_needed(store: Path) -> None:
    assert find_garbage(Store(store)) == []
    (columns,), (run,) = (list(store.glob(kind)) for kind in ("columns/*", "runs/2*"))
    record = json.loads((run / RUN_FILE).read_bytes())
    assert record.pop("columns") == columns.name
    (run / RUN_FILE).write_text(json.dumps(record))
    assert [one.path for one in find_garbage(Store(store))] == [columns]


def test_a_model_of_the_user_is_needed_by_nobody_in_the_store(shelf: Shelf) -> None:
    shelf.run(1, 1, 1, model="/somewhere/my-model")
    model = shelf.make("model", 1)
    assert list(shelf.found()) == [str(model.relative_to(shelf.store.root))]


def test_a_store_that_was_moved_keeps_the_models_of_its_runs(shelf: Shelf, tmp_path: Path) -> None:
    shelf.run(1, 1, 1, 1)
    shelf.store.root.rename(tmp_path / "moved")
    assert find_garbage(Store(tmp_path / "moved")) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"export": "a", "dataset": "b"', b"\xff", b"[" * 100_000],
    ids=["empty", "no keys", "a list", "cut off", "not utf-8", "deep"],
)
def test_a_run_that_cannot_be_read_makes_it_refuse(shelf: Shelf, content: bytes) -> None:
    failed, damaged, _ = (
        shelf.run(1, 1, 1, is_complete=False),
        shelf.run(1, 1, 1),
        shelf.run(2, 2, 2),
    )
    shelf.make("export", 3)
    (damaged / RUN_FILE).write_bytes(content)
    message = f"{damaged / RUN_FILE} cannot be read.* delete"
    for keep_runs in (None, 1):  # it may be the newest complete run of a config
        with pytest.raises(StoreCorruptionError, match=message):
            find_garbage(shelf.store, keep_runs)
    (damaged / SUCCESS_FILE).unlink()
    assert {failed, damaged} < {one.path for one in find_garbage(shelf.store, keep_runs=1)}


def test_runs_without_results_do_not_count(shelf: Shelf) -> None:
    def unwanted(keep_runs: int) -> set[Path]:
        return {one.path for one in find_garbage(shelf.store, keep_runs)} & set(shelf.runs)

    before = shelf.run(1, 1, 1, is_complete=False)
    good = shelf.run(1, 1, 1)
    for night in range(3):
        shelf.run(night, night, night, is_complete=False)
    assert unwanted(3) == unwanted(2) == set()
    assert unwanted(1) == {before}
    assert all(found.manifest for found in shelf.find("predictions", 1))
    shelf.run(2, 2, 2)
    assert unwanted(1) == {*shelf.runs[:-1]}
    assert good in unwanted(1)


def test_what_the_next_run_of_a_config_is_compared_with_is_kept(shelf: Shelf) -> None:
    shelf.run(1, 1, 1, config="/jobs/a.yaml")
    kept = [shelf.run(2, 2, 2, config="/jobs/a.yaml")]
    kept += [shelf.run(3, 3, 3, config="/jobs/b.yaml", suspect=True)]
    for number, mark in enumerate(("suspect", "partial", "suspect", "partial"), start=4):
        bad = shelf.run(number, number, number, config="/jobs/a.yaml", **{mark: True})
    tries = [shelf.run(8, 8, 8, config="/jobs/a.yaml", limit=10) for _ in range(2)]
    rehearsal = {"export": {"engine": "fake"}}
    kept += [bad, tries[-1], shelf.run(9, 9, 9, config="/jobs/a.yaml", decided_by=rehearsal)]
    kept += [shelf.run(1, 1, 1, config="/jobs/a.yaml", rerun_of=shelf.runs[0].name)]
    shelf.gc(keep_runs=1)
    assert [run for run in shelf.runs if run.exists()] == sorted(kept)


def test_the_newest_complete_run_of_each_config_is_kept(shelf: Shelf, tmp_path: Path) -> None:
    weekly, nightly, alias = (str(tmp_path / name) for name in ("weekly", "nightly", "alias"))
    Path(alias).symlink_to(nightly)
    shelf.run(1, 1, 1, config=weekly)
    kept = [shelf.run(2, 2, 2, config=weekly)]
    shelf.run(3, 3, 3, config=weekly, is_complete=False)
    shelf.run(4, 4, 4, config=alias)  # the same file as `nightly`
    kept += [shelf.run(5, 5, 5, config=nightly), shelf.run(6, 6, 6, config=nightly)]
    shelf.gc(keep_runs=2)
    assert [run for run in shelf.runs if run.exists()] == kept


def test_a_run_that_a_link_points_at_is_kept(shelf: Shelf) -> None:
    runs = [shelf.run(n, n, n, n) for n in range(4)]
    (shelf.store.root / "runs/best").symlink_to(runs[1].name)
    point_latest(shelf.store, runs[2].name)
    shelf.run(4, 4, 4)
    point_latest(shelf.store, runs[2].name)
    for name in (f".latest-{runs[3].name}", ".newest.12-0a1b2c3d.tmp"):  # left by a killed process
        (shelf.store.root / "runs" / name).symlink_to(runs[3].name)
    unwanted = {one.path for one in find_garbage(shelf.store, keep_runs=1)}
    assert unwanted & set(runs) == {runs[0], runs[3]}
    shelf.gc(keep_runs=1)
    assert find_run("best", shelf.store) == runs[1]
    assert all(found.manifest for kind in KINDS for found in shelf.find(kind, 1))


def test_an_unfinished_part_of_predictions_is_garbage(shelf: Shelf) -> None:
    parts = Path(shelf.run(1, 1, 1)) / "predictions"
    parts.mkdir()
    unfinished = parts / ".part-00001.parquet.12-0a1b2c3d.tmp"
    for path in (parts / "part-00000.parquet", parts / "_manifest.json", unfinished):
        path.touch()
    assert [one.path for one in find_garbage(shelf.store)] == [unfinished]


def test_an_empty_store_holds_no_garbage(shelf: Shelf) -> None:
    assert find_garbage(shelf.store) == []
    shelf.store.root.mkdir()
    assert find_garbage(shelf.store) == []
