from __future__ import annotations

import errno
import json
import random
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from tasks.runs.results import RUN_FILE, SUCCESS_FILE
from tasks.store.layout import LATEST, NEWEST
from tasks.store.manifest import find_checkpoint, fingerprint
from tests.support.faulty_disk import Call, FaultyDisk, Op, build_library
from tests.support.rehearsal import ROOT
from tests.support.two_checkpoints import DATASET, PREDICTIONS, SHARD_MANIFEST

ERRORS = {"eio": errno.EIO, "enospc": errno.ENOSPC, "eacces": errno.EACCES}
TAKES_SPACE = Op.OPEN | Op.WRITE | Op.LINK | Op.MKDIR
CHECKPOINTS = {
    f"datasets/{fingerprint(DATASET)}/manifest.json": fingerprint(DATASET),
    f"predictions/{fingerprint(PREDICTIONS)}/{SHARD_MANIFEST}": fingerprint(PREDICTIONS),
}
IN_MEMORY = Path("/dev/shm")  # noqa: S108 thousands of real fsyncs would take minutes
LEFTOVER = re.compile(r"\.[^/]+\.\d+-[0-9a-f]{8}\.tmp|\.staging-\w{8}")
Files = dict[str, bytes]


class Outcome(NamedTuple):
    exit: int
    error: dict[str, Any] | None


class Workshop:
    """Makes one store after the other on a faulty disk, each in its own process."""

    def __init__(self, disk: FaultyDisk) -> None:
        self.disk = disk
        self._numbers = count()
        program = [sys.executable, "-m", "tests.support.two_checkpoints"]
        self._process = disk.start(program, cwd=ROOT)

    def new_store(self) -> Path:
        return self.disk.root / f"store-{next(self._numbers)}"

    def make(self, store: Path) -> tuple[Outcome, Path]:
        """Return how the process ended, and the folder of its run."""
        run_id = f"20260101-000000-{next(self._numbers):06x}"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{run_id} {store}\n")
        self._process.stdin.flush()
        outcome = Outcome(**json.loads(self._process.stdout.readline()))
        return outcome, store / "runs" / run_id

    def close(self) -> None:
        _, errors = self._process.communicate()
        assert errors == ""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("commit-points")
    library = build_library(tmp_path_factory.getbasetemp())
    with TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else folder) as root:
        workshop = Workshop(FaultyDisk(library, Path(root), folder))
        yield workshop
        workshop.close()


@pytest.fixture(scope="module")
def undisturbed(workshop: Workshop) -> tuple[Files, list[Call]]:
    """The files of an undisturbed store, and the calls that made it."""
    store = workshop.new_store()
    workshop.disk.count()
    workshop.disk.clear_trace()
    outcome, run = workshop.make(store)
    assert outcome == (0, None)
    assert list(find_leftovers(store)) == []
    return read_files(store, run), workshop.disk.trace()


def read_files(store: Path, run: Path) -> Files:
    """Return the files of the checkpoints and of one run, without hidden ones."""
    files: Files = {}
    for kind, folder in (("", store), ("run/", run)):
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_file() and "/." not in f"/{name}" and not name.startswith("runs/"):
                files[kind + name] = path.read_bytes()
    return files


def find_leftovers(store: Path) -> Iterator[Path]:
    return (path for path in store.rglob(".*") if path.name.startswith("."))


def assert_nothing_half_made(store: Path, expected: Files) -> None:
    """Check that files with final names are complete, as is each checkpoint with a manifest."""
    visible = read_files(store, store / "no run")
    assert visible == {name: expected[name] for name in visible}
    for manifest, digest in CHECKPOINTS.items():
        folder = manifest.rpartition("/")[0]
        if find_checkpoint(store / manifest, digest).state == "made":
            assert {name for name in expected if name.startswith(folder)} <= set(visible)
    for run in store.glob("runs/2*"):
        if (run / SUCCESS_FILE).exists():
            assert read_files(store, run) == expected
    latest, newest = (store / "runs" / name for name in (LATEST, NEWEST))
    assert (latest / SUCCESS_FILE).is_file() or not latest.is_symlink()
    assert (newest / RUN_FILE).is_file() or not newest.is_symlink()


def assert_ends_undisturbed(workshop: Workshop, store: Path, expected: Files) -> None:
    workshop.disk.count()
    outcome, run = workshop.make(store)
    assert outcome == (0, None)
    assert read_files(store, run) == expected
    assert {(store / "runs" / name).resolve() for name in (LATEST, NEWEST)} == {run}
    shutil.rmtree(store)


def points_of(op: Op, calls: list[Call]) -> list[int]:
    """Return the numbers of the calls, from 1; of repeated writes only the first and the last."""
    around = zip([None, *calls], calls, [*calls[1:], None], strict=False)
    return [
        number
        for number, (before, call, after) in enumerate(around, 1)
        if call.op is op and not before == call == after
    ]


def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_after(
    undisturbed: tuple[Files, list[Call]],
) -> None:
    """Needed for power cuts, which killing a process does not simulate."""
    _, calls = undisturbed
    renames = [
        n
        for n, call in enumerate(calls)
        if call.op is Op.RENAME and not call.path.endswith((LATEST, NEWEST))
    ]
    assert (
        len(renames) == sum(call.op is Op.OPEN for call in calls) + 2
    )  # adopted files are renamed twice
    for number in renames:
        before, renamed, after = calls[number - 1 : number + 2]
        folder, _, name = renamed.path.rpartition("/")
        assert before.op is Op.FSYNC
        assert re.fullmatch(rf"{folder}/(\.{name}\.\S+\.tmp|\.staging-\w+/\S+)", before.path)
        assert after == (Op.FSYNC, folder)


@pytest.mark.parametrize("op", list(Op), ids=lambda op: op.name.lower())
def test_a_kill_after_any_call_and_another_in_the_recovery_lose_nothing(
    workshop: Workshop, undisturbed: tuple[Files, list[Call]], op: Op
) -> None:
    expected, calls = undisturbed
    draw = random.Random(op)  # noqa: S311 not for secrets
    assert points_of(op, calls)
    for number in points_of(op, calls):
        store = workshop.new_store()
        again = draw.randint(1, max(20, len(calls) - number))
        for at, must_hit in ((number, True), (again, False)):  # the recovery may end before
            workshop.disk.kill(at)
            outcome, _ = workshop.make(store)
            assert outcome.exit == -signal.SIGKILL * workshop.disk.hits
            assert workshop.disk.hits == 1 or not must_hit
            assert_nothing_half_made(store, expected)
        assert all(LEFTOVER.fullmatch(path.name) for path in find_leftovers(store))
        assert_ends_undisturbed(workshop, store, expected)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("op", [op for op in Op if op != Op.REMOVE], ids=lambda op: op.name.lower())
def test_any_call_that_fails_is_an_error_and_leaves_nothing_half_made(
    workshop: Workshop, undisturbed: tuple[Files, list[Call]], op: Op, error: int
) -> None:
    expected, calls = undisturbed
    for at in range(1, sum(call.op is op for call in calls) + 1):
        store = workshop.new_store()
        workshop.disk.fail(error, at, op)
        outcome, _ = workshop.make(store)
        assert workshop.disk.hits == 1
        if op is not Op.MKDIR or outcome.error:  # mkdir of an existing folder may fail
            assert_says(outcome, error)
        assert list(find_leftovers(store)) == []
        assert_nothing_half_made(store, expected)
        assert_ends_undisturbed(workshop, store, expected)


@pytest.mark.parametrize(
    ("error", "ops"),
    [(errno.ENOSPC, TAKES_SPACE), (errno.EROFS, Op.ANY)],
    ids=["full", "read-only"],
)
def test_a_disk_that_is_of_no_use_from_some_call_on_is_one_readable_error(
    workshop: Workshop, undisturbed: tuple[Files, list[Call]], error: int, ops: Op
) -> None:
    expected, calls = undisturbed
    for at in range(1, sum(call.op in ops for call in calls) + 1):
        store = workshop.new_store()
        workshop.disk.fail(error, at, ops, lasting=True)
        outcome, _ = workshop.make(store)
        assert_says(outcome, error)
        if error != errno.EROFS:  # then nothing can be deleted either
            assert list(find_leftovers(store)) == []
        assert_nothing_half_made(store, expected)
        assert_ends_undisturbed(workshop, store, expected)


def test_a_part_that_cannot_be_removed_does_not_hide_why_it_is_one(workshop: Workshop) -> None:
    workshop.disk.fail(errno.EIO, ops=Op.WRITE | Op.REMOVE, lasting=True)
    outcome, _ = workshop.make(workshop.new_store())
    assert workshop.disk.hits == 2
    assert outcome.error is not None
    assert outcome.error["errnos"] == [errno.EIO]


def assert_says(outcome: Outcome, error: int) -> None:
    assert outcome.error is not None
    assert outcome.error["errnos"][0] == error
    assert "StorageError" in outcome.error["classes"]
