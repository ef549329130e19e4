from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import StorageError
from tasks.operations.gc import find_garbage
from tasks.predict.shards import plan_shards
from tasks.runs.links import point_latest
from tasks.runs.results import RUN_FILE
from tasks.runs.run import new_run_id
from tasks.store.claims import Claims
from tasks.store.files import commit_bytes, staging_folder
from tasks.store.layout import Store
from tasks.store.manifest import MANIFEST, Found, find_checkpoint
from tests.support.shelf import KINDS, Shelf, below, litter, read_tree


def in_child(action: Callable[[], object]) -> int:
    """Call `action` in a child process; return its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_before(step: int, action: Callable[[], object]) -> bool:
    """Call `action` in a child that is killed before its file-system change number `step`."""

    def act() -> None:
        steps = count()

        def hook(event: str, _: object) -> None:
            if event in {"os.rename", "os.remove", "os.rmdir"} and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        action()

    code = in_child(act)
    assert code in {0, -signal.SIGKILL}
    return code != 0


def die() -> NoReturn:
    os._exit(0)


NUMBER = st.integers(0, 2)
RUN = st.tuples(NUMBER, NUMBER, NUMBER) | st.tuples(NUMBER, NUMBER, NUMBER, NUMBER)


@settings(max_examples=25)
@given(
    runs=st.lists(RUN, max_size=4),
    others=st.sets(st.tuples(st.sampled_from(KINDS), st.integers(0, 4)), max_size=4),
    keep_runs=st.none() | st.integers(1, 3),
    latest=st.integers(0, 3),
)
def test_what_a_kept_run_needs_stays_byte_for_byte_and_nothing_else_does(
    runs: list[tuple[int, ...]],
    others: set[tuple[str, int]],
    keep_runs: int | None,
    latest: int,
) -> None:
    with tempfile.TemporaryDirectory() as root:
        shelf = Shelf(Store(Path(root)))
        for numbers in runs:
            shelf.run(*numbers)
        for kind, number in others:
            shelf.make(kind, number)
        latest = min(latest, len(runs) - 1)
        if runs:
            point_latest(shelf.store, shelf.runs[latest].name)
        before = read_tree(Path(root))

        kept = [n for n in range(len(runs)) if keep_runs is None or n >= len(runs) - keep_runs]
        kept += [latest] if runs else []
        needed = {pair for n in kept for pair in zip(KINDS, runs[n], strict=False)}
        if any(len(runs[n]) == 3 for n in kept):  # older runs do not say which model they need
            needed |= {("model", n) for n in range(5) if shelf.folder("model", n).exists()}
        folders = [shelf.runs[n] for n in kept] + [shelf.folder(*pair) for pair in needed]
        expected = below(before, Path(root), *folders)
        # The store's own folders, and the link in runs/.
        expected |= {name: content for name, content in before.items() if name.count("/") == 1}

        for folder in Path(root).glob(
            "[!r]*/*"
        ):  # runs keep all of their files, whatever their names
            litter(folder)
        shelf.gc(keep_runs)
        assert read_tree(Path(root)) == expected
        assert all(found.manifest for pair in needed for found in shelf.find(*pair))
        assert find_garbage(shelf.store, keep_runs) == []


def test_what_killed_processes_really_leave_is_removed(shelf: Shelf) -> None:
    run = shelf.run(1, 1, 1, 1)
    dataset = shelf.folder("dataset", 1)
    before = read_tree(shelf.store.root)

    def die_in_staging() -> None:
        with staging_folder(dataset) as staging:
            commit_bytes(staging / "part-00000.parquet", b"content")
            die()

    def die_with_a_claim() -> None:
        Claims(shelf.store.claims_folder).once("shard", lambda: Found(None), die)

    assert killed_before(0, lambda: commit_bytes(dataset / MANIFEST, b"content"))
    assert killed_before(0, lambda: commit_bytes(run / "metrics.json", b"content"))
    assert in_child(die_in_staging) == 0
    assert in_child(die_with_a_claim) == 0
    new_run = shelf.store.run_folder(new_run_id(datetime.now(UTC)))
    assert killed_before(0, lambda: commit_bytes(new_run / RUN_FILE, b"{}"))
    assert killed_before(0, lambda: point_latest(shelf.store, run.name))
    assert len(shelf.found()) == 6
    shelf.gc()
    assert read_tree(shelf.store.root) == {**before, "claims/": ""}


def test_a_shard_without_its_manifest_goes_and_the_others_stay(shelf: Shelf) -> None:
    shelf.run(1, 1, 1, 1)
    first, second = plan_shards(20, 10)
    folder = shelf.folder("predictions", 1)
    (folder / first.manifest_name).unlink()
    table = folder / first.file_name
    assert list(shelf.found()) == [str(table.relative_to(shelf.store.root))]
    shelf.gc()
    assert find_checkpoint(folder / second.manifest_name, folder.name).manifest is not None


def test_links_go_and_what_they_point_at_stays(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_bytes(b"mine")
    shelf.run(1, 1, 1, 1)
    before = read_tree(tmp_path)
    unneeded = shelf.make("export", 2)
    (unneeded / "link").symlink_to(tmp_path / "mine")
    for link in (shelf.folder("export", 3), shelf.folder("dataset", 1) / "link"):
        link.symlink_to(tmp_path / "mine")
    shelf.gc()
    assert read_tree(tmp_path) == before


def test_what_was_moved_to_another_disk_and_linked_is_left_alone(
    shelf: Shelf, tmp_path: Path
) -> None:
    shelf.run(1, 1, 1, 1)
    shelf.make("predictions", 2)
    root, away = shelf.store.root, tmp_path / "away"
    away.mkdir()
    for moved in (root / "predictions", root / "runs", shelf.folder("export", 1)):
        moved.rename(away / moved.name)
        moved.symlink_to(away / moved.name)
    litter(away / shelf.folder("export", 1).name)
    before = read_tree(tmp_path)
    shelf.make("dataset", 2)  # the runs behind the link still refer to checkpoints
    shelf.gc(keep_runs=1)
    assert read_tree(tmp_path) == before


def test_what_wenti_did_not_make_is_left_alone(shelf: Shelf) -> None:
    root = shelf.store.root
    shelf.run(1, 1, 1, 1).rename(root / "runs/renamed")  # it still needs its checkpoints
    places = (".", "mine", "exports", "exports/mine", "runs", "runs/mine", "runs/renamed")
    for folder in (*places, shelf.folder("dataset", 1) / "mine"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "notes.txt").write_bytes(b"mine")
    before = read_tree(root)
    shelf.gc(keep_runs=1)
    assert read_tree(root) == before


@contextmanager
def copied(shelf: Shelf, folder: Path) -> Iterator[Shelf]:
    shutil.copytree(shelf.store.root, folder, symlinks=True)
    store = Store(folder)
    yield Shelf(store, [store.run_folder(run.name) for run in shelf.runs])
    shutil.rmtree(folder)


def test_killed_at_any_point_it_leaves_nothing_half_and_finishes_when_run_again(
    shelf: Shelf, tmp_path: Path
) -> None:
    numbers = [(1, 1, 1, 1), (1, 2, 2, 1)]
    for needed in numbers:
        shelf.run(*needed)
    shelf.make("model", 2)
    folders = [*shelf.runs, *(shelf.folder(kind, n) for kind in KINDS for n in (1, 2))]
    names = [folder.relative_to(shelf.store.root) for folder in folders]
    clean = read_tree(shelf.store.root)
    litter(shelf.folder("dataset", 2))

    def check_whole_or_gone(killed: Shelf) -> None:
        root = killed.store.root
        tree = read_tree(root)
        for name in names:
            there, whole = below(tree, root, root / name), below(clean, root, root / name)
            assert there == {} or there.items() >= whole.items()
        for run, needed in zip(killed.runs, numbers, strict=True):
            pairs = list(zip(KINDS, needed, strict=True))
            assert not run.exists() or all(one.manifest for p in pairs for one in killed.find(*p))
        assert killed.runs[-1].exists()

    with copied(shelf, tmp_path / "undisturbed") as undisturbed:
        undisturbed.gc(keep_runs=1)
        expected = read_tree(undisturbed.store.root)
    assert expected.items() <= clean.items()
    is_killed, step = True, 0
    while is_killed:
        with copied(shelf, tmp_path / "killed") as killed:
            gc = partial(killed.gc, keep_runs=1)
            is_killed = killed_before(step, gc)
            check_whole_or_gone(killed)
            killed_before(step % 4, gc)
            check_whole_or_gone(killed)
            gc()
            assert read_tree(killed.store.root) == expected
        step += 1
    assert step > 20


def test_what_cannot_be_removed_is_a_readable_error_and_goes_the_next_time(
    small_disk: Path,
) -> None:
    shelf = Shelf(Store(small_disk / "store"))
    shelf.run(1, 1, 1, 1)
    expected = read_tree(small_disk)
    shelf.make("export", 2)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match=f"{shelf.folder('export', 2)}: .* read-only"):
        shelf.gc()
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    shelf.gc()
    assert read_tree(small_disk) == expected
