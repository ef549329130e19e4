from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.claims import Claims
from tasks.errors import StorageError, StoreCorruptionError
from tasks.garbage import find_garbage, remove
from tasks.runs import RUN_FILE, SUCCESS_FILE, commit_json, find_run, new_run_id, point_latest
from tasks.shards import plan_shards
from tasks.store import (
    MANIFEST,
    FileEntry,
    Found,
    Manifest,
    Store,
    adopt_file,
    commit_bytes,
    commit_manifest,
    find_checkpoint,
    fingerprint,
    staging_folder,
)

Tree = dict[str, bytes | str]
KINDS = ("export", "dataset", "predictions", "model")
FILES = {
    "export": ("unimo_text.pdmodel", "contract.json"),
    "dataset": ("part-00000-of-00001.parquet", "rejects.parquet"),
    "model": ("model_state.pdparams", "config.json"),
}
JUNK = (".x.json.123-0a1b2c3d.tmp", ".staging-abcd1234/part.parquet", "orphan.parquet")


@dataclass
class Shelf:
    """A store that is filled by the store's own means; checkpoints are known by small numbers."""

    store: Store
    runs: list[Path] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def digest(self, kind: str, number: int) -> str:
        return fingerprint({"stage": kind, "number": number})

    def folder(self, kind: str, number: int) -> Path:
        folder_of: Callable[[str], Path] = getattr(self.store, f"{kind}_folder")
        return folder_of(self.digest(kind, number))

    def make(self, kind: str, number: int) -> Path:
        """Make a checkpoint unless it is there; its files' content depends on both arguments."""
        folder = self.folder(kind, number)
        content = f"{kind} {number}".encode()
        if folder.exists():
            return folder
        if kind == "predictions":
            for shard in plan_shards(20, 10):
                entry = commit_bytes(folder / shard.file_name, content + bytes([shard.index]))
                self._commit_manifest(folder / shard.manifest_name, kind, number, entry)
            self._commit_manifest(folder / "evaluation.json", kind, number)
            return folder
        with staging_folder(folder) as staging:
            for name in FILES[kind]:
                (staging / name).write_bytes(content)
            entries = [adopt_file(staging / name, folder / name) for name in FILES[kind]]
            self._commit_manifest(folder / MANIFEST, kind, number, *entries)
        return folder

    def _commit_manifest(self, path: Path, kind: str, number: int, *files: FileEntry) -> None:
        decided_by = {"stage": kind, "number": number}
        digest = self.digest(kind, number)
        commit_manifest(
            path, Manifest(kind=kind, fingerprint=digest, decided_by=decided_by, files=files)
        )

    def find(self, kind: str, number: int) -> list[Found]:
        """Look all manifests of a checkpoint up, and read back what they name."""
        folder, digest = self.folder(kind, number), self.digest(kind, number)
        names = [MANIFEST]
        if kind == "predictions":
            names = ["evaluation.json", *(shard.manifest_name for shard in plan_shards(20, 10))]
        return [find_checkpoint(folder / name, digest) for name in names]

    def run(self, *numbers: int, model: str | None = None) -> Path:
        """Make a run, and the export, dataset, predictions and perhaps model of these numbers."""
        started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=next(self.numbers))
        run = self.store.run_folder(new_run_id(started))
        record = {
            kind: self.make(kind, n).name for kind, n in zip(KINDS[:3], numbers[:3], strict=True)
        }
        if len(numbers) > 3:
            record["model_folder"] = str(self.make("model", numbers[3]).absolute())
        elif model is not None:
            record["model_folder"] = model
        commit_json(run / RUN_FILE, {"run_id": run.name, "state": "completed", **record})
        commit_bytes(run / "predictions.txt", run.name.encode())
        commit_json(run / SUCCESS_FILE, {"run_id": run.name, "files": []})
        point_latest(self.store, run.name)
        self.runs.append(run)
        return run

    def gc(self, keep_runs: int | None = None) -> None:
        remove(find_garbage(self.store, keep_runs))

    def found(self) -> dict[str, str]:
        """Give the paths in the store of what is garbage, and why."""
        root = self.store.root
        return {str(one.path.relative_to(root)): one.why for one in find_garbage(self.store)}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(Store(tmp_path / "store"))


def read_tree(root: Path) -> Tree:
    """Every file, folder (its name ends in a slash) and link below `root`; none behind a link."""
    tree: Tree = {}
    for folder, folders, files in os.walk(root):
        for path in (Path(folder) / name for name in (*folders, *files)):
            name = str(path.relative_to(root))
            if path.is_symlink():
                tree[name] = str(path.readlink())
            elif path.is_dir():
                tree[f"{name}/"] = ""
            else:
                tree[name] = path.read_bytes()
    return tree


def below(tree: Tree, root: Path, *folders: Path) -> Tree:
    prefixes = tuple(f"{folder.relative_to(root)}/" for folder in folders)
    return {name: content for name, content in tree.items() if name.startswith(prefixes)}


def litter(folder: Path) -> None:
    for name in JUNK:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"junk")


def in_child(action: Callable[[], object]) -> int:
    """Do it in a process of its own; gives its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_before(step: int, action: Callable[[], object]) -> bool:
    """Do it in a process that is killed before its change number `step` of the file system."""

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


@settings(max_examples=25, deadline=None)
@given(
    runs=st.lists(RUN, max_size=4),
    others=st.sets(st.tuples(st.sampled_from(KINDS), st.integers(0, 4)), max_size=4),
    keep_runs=st.none() | st.integers(0, 3),
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
        if any(len(runs[n]) == 3 for n in kept):  # an older run does not say which model it needs
            needed |= {("model", n) for n in range(5) if shelf.folder("model", n).exists()}
        folders = [shelf.runs[n] for n in kept] + [shelf.folder(*pair) for pair in needed]
        expected = below(before, Path(root), *folders)
        # The store's own folders, and the link in runs/.
        expected |= {name: content for name, content in before.items() if name.count("/") == 1}

        for folder in Path(root).glob("[!r]*/*"):  # runs keep what they wrote, whatever its name
            litter(folder)
        shelf.gc(keep_runs)
        assert read_tree(Path(root)) == expected
        assert all(found.manifest for pair in needed for found in shelf.find(*pair))
        assert find_garbage(shelf.store, keep_runs) == []


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
        shelf.runs[0]: "not among the newest 1",
        shelf.folder("export", 1): "no run refers to it",
        export: "no run refers to it",
        dataset / ".staging-abcd1234": "left by a process that was stopped",
        dataset / JUNK[0]: "left by a process that was stopped",
        dataset / "orphan.parquet": "no manifest names it",
    }
    removed = below(before, shelf.store.root, export)
    assert garbage[export].size == sum(map(len, removed.values()))
    assert garbage[dataset / "orphan.parquet"].size == len(b"junk")


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


def test_a_claim_that_somebody_holds_is_no_garbage(shelf: Shelf) -> None:
    claims = shelf.store.claims_folder
    claims.mkdir(parents=True)
    (claims / "free").touch()
    with (claims / "held").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert shelf.found() == {"claims/free": "a claim that nobody holds"}


def test_a_shard_without_its_manifest_goes_and_the_others_stay(shelf: Shelf) -> None:
    shelf.run(1, 1, 1, 1)
    first, second = plan_shards(20, 10)
    folder = shelf.folder("predictions", 1)
    (folder / first.manifest_name).unlink()
    table = folder / first.file_name
    assert list(shelf.found()) == [str(table.relative_to(shelf.store.root))]
    shelf.gc()
    assert find_checkpoint(folder / second.manifest_name, folder.name).manifest is not None


def test_a_damaged_manifest_may_name_any_file_beside_it(shelf: Shelf) -> None:
    shelf.run(1, 1, 1, 1)
    first, _ = plan_shards(20, 10)
    folder = shelf.folder("predictions", 1)
    (folder / first.manifest_name).write_bytes(b"{")
    litter(folder)
    assert {Path(path).name for path in shelf.found()} == {JUNK[0], ".staging-abcd1234"}


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
    damaged, _ = shelf.run(1, 1, 1, 1), shelf.run(2, 2, 2, 2)
    shelf.make("export", 3)
    (damaged / RUN_FILE).write_bytes(content)
    with pytest.raises(StoreCorruptionError, match=f"{damaged / RUN_FILE} cannot be read.* delete"):
        find_garbage(shelf.store)
    assert damaged in {one.path for one in find_garbage(shelf.store, keep_runs=1)}


def test_a_run_that_a_link_points_at_is_kept(shelf: Shelf) -> None:
    runs = [shelf.run(n, n, n, n) for n in range(4)]
    (shelf.store.root / "runs/best").symlink_to(runs[1].name)
    point_latest(shelf.store, runs[2].name)
    (shelf.store.root / f"runs/.latest-{runs[3].name}").symlink_to(runs[3].name)  # was never latest
    unwanted = {one.path for one in find_garbage(shelf.store, keep_runs=0)}
    assert unwanted & set(runs) == {runs[0], runs[3]}
    shelf.gc(keep_runs=0)
    assert find_run("best", shelf.store) == runs[1]
    assert all(found.manifest for kind in KINDS for found in shelf.find(kind, 1))


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
    shelf.make("dataset", 2)  # the runs behind the link still say what is needed
    shelf.gc(keep_runs=0)
    assert read_tree(tmp_path) == before


def test_what_wenti_did_not_make_is_left_alone(shelf: Shelf) -> None:
    root = shelf.store.root
    shelf.run(1, 1, 1, 1).rename(root / "runs/renamed")  # it still needs its checkpoints
    places = (".", "mine", "exports", "exports/mine", "runs", "runs/mine", "runs/renamed")
    for folder in (*places, shelf.folder("dataset", 1) / "mine"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "notes.txt").write_bytes(b"mine")
    before = read_tree(root)
    shelf.gc(keep_runs=0)
    assert read_tree(root) == before


def test_an_empty_store_holds_no_garbage(shelf: Shelf) -> None:
    assert find_garbage(shelf.store) == []
    shelf.store.root.mkdir()
    assert find_garbage(shelf.store) == []


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
