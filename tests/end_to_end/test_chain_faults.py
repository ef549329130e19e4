"""Kills, disk errors and clock changes during a whole run: the next run always ends correctly."""

from __future__ import annotations

import errno
import itertools
import random
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from tasks.engine.fake import FAULTS_VARIABLE
from tests.support.disturbances import LINES, ClockJumps
from tests.support.episodes import HARMS, SMALL, Episode
from tests.support.faulty_disk import Call, FaultyDisk, Op, build_library
from tests.support.rehearsal import RESULTS, SHARDS, Rehearsal, made_by
from tests.support.soak import Play

FINGERPRINT = "?" * 64
RUN = "store/runs/" + "?" * len("20260101-000000-abcdef")
PREDICTIONS = f"store/predictions/{FINGERPRINT}"
DAY = 86400
CALLS = {Op.OPEN: 40, Op.WRITE: 400, Op.FSYNC: 50, Op.RENAME: 24}  # minimum calls of a whole run
TAKES_SPACE = Op.OPEN | Op.WRITE | Op.LINK | Op.MKDIR
LASTING = {  # calls that fail from some point on; not removals, or parts would be left over
    errno.ENOSPC: TAKES_SPACE,
    errno.EACCES: Op.OPEN | Op.RENAME | Op.LINK | Op.MKDIR,
    errno.EIO: TAKES_SPACE | Op.FSYNC | Op.RENAME,
}
EXITS = {0, 2, 3}
Item = TypeVar("Item")
MakeDisk = Callable[[str], FaultyDisk]


class Point(NamedTuple):
    """A point in a commit: the call to kill the run at, and the calls at the end of the trace."""

    op: Op
    pattern: str
    at: int
    calls: tuple[Call, ...]
    before: bool = False

    def assert_last_calls(self, trace: list[Call]) -> None:
        """Check by the trace where the run was killed; other stages may have made calls as well."""
        folder = self.calls[-1].path.rpartition("/.")[0] or self.pattern.rpartition("/")[0]
        here = [call for call in trace if fnmatchcase(call.path, f"{folder}*")]
        for call, expected in zip(here[-len(self.calls) :], self.calls, strict=True):
            assert call.op is expected.op, self
            assert fnmatchcase(call.path, expected.path), self


def points_of(path: str, nth: int, sync: int) -> tuple[Point, ...]:
    """Return the points of the commit of a file: written, synced, renamed, its folder synced.

    It is the `nth` file that matches `path` and that a run commits; of the calls by which a run
    syncs their folder, number `sync` belongs to this file.
    """
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.*.tmp"
    calls = (
        Call(Op.WRITE, temporary),
        Call(Op.FSYNC, temporary),
        Call(Op.RENAME, path),
        Call(Op.FSYNC, folder),
    )
    return (
        Point(Op.FSYNC, temporary, nth, calls[:2], before=True),
        Point(Op.FSYNC, temporary, nth, calls[:2]),
        Point(Op.RENAME, path, nth, calls[:3]),
        Point(Op.FSYNC, folder, sync, calls),
    )


def renamed(path: str) -> Point:
    """Return the point right after a file, the first that matches, is renamed to its final name."""
    return Point(Op.RENAME, path, 1, (Call(Op.RENAME, path),))


# Two chains run at a time, so they have about the same length.
CHAINS = {
    "predict": (
        renamed(f"store/exports/{FINGERPRINT}/contract.json"),
        renamed(f"store/exports/{FINGERPRINT}/manifest.json"),
        renamed(f"store/columns/{FINGERPRINT}/manifest.json"),
        renamed(f"store/datasets/{FINGERPRINT}/part-*.parquet"),
        renamed(f"store/datasets/{FINGERPRINT}/manifest.json"),
        renamed(f"store/datasets/{FINGERPRINT}/keys.parquet"),
        renamed(f"{PREDICTIONS}/piece-*.parquet"),
        renamed(f"{PREDICTIONS}/piece-*.json"),
        *points_of(f"{PREDICTIONS}/shard-*-of-*.parquet", nth=1, sync=1),
        # The first shard is there when its manifest is renamed; the next one has two pieces first.
        *points_of(f"{PREDICTIONS}/shard-*-of-*.json", nth=1, sync=6),
    ),
    "aggregate": (
        renamed(f"{RUN}/run.json"),
        *points_of(f"{RUN}/predictions.parquet", nth=1, sync=3),
        renamed(f"{RUN}/predictions.txt"),
        renamed(f"{RUN}/quality.parquet"),
        renamed(f"{PREDICTIONS}/quality.json"),
        *points_of(f"{RUN}/run.json", nth=2, sync=10),
        *points_of(f"{RUN}/_SUCCESS", nth=1, sync=11),
    ),
}


@pytest.fixture
def make_disk(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeDisk:
    """A function that returns faulty disks for this test, each with its own root folder."""
    library = build_library(tmp_path_factory.getbasetemp())

    def make(name: str) -> FaultyDisk:
        return FaultyDisk(library, tmp_path / name / "disk", tmp_path / name / "plan")

    return make


def two_at_once(do: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Call a function for each item in two threads; an exception in one is raised."""
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(do, items))


def variables(disk: FaultyDisk) -> dict[str, str]:
    return {name: disk.environment[name] for name in ("LD_PRELOAD", "FAULTY_DISK")}


def latest(store: Path) -> Path:
    return (store / "runs/latest").resolve()


def assert_nothing_half_made(rehearsal: Rehearsal, store: Path) -> None:
    """Check that files with final names are complete, and only successful runs have `_SUCCESS`."""
    for path in store.glob("predictions/*/shard-*"):
        whole = rehearsal.undisturbed / path.relative_to(store)
        assert path.read_bytes() == whole.read_bytes(), path
    for run in store.glob("runs/2*"):
        for path in (run / name for name in RESULTS if (run / name).exists()):
            whole = latest(rehearsal.undisturbed) / path.name
            assert path.read_bytes() == whole.read_bytes(), path
        if (run / "_SUCCESS").exists():
            rehearsal.check(store, run.name)


def assert_the_next_run_makes_the_rest(rehearsal: Rehearsal, store: Path) -> None:
    made = len(list(store.glob("predictions/*/shard-*.json")))
    code, messages = rehearsal.run(store)
    assert code == 0, messages
    assert made_by(store, [latest(store).name]) == [SHARDS - made]
    rehearsal.check(store)


def kill_at(rehearsal: Rehearsal, disk: FaultyDisk, store: Path, point: Point) -> None:
    disk.clear_trace()
    disk.kill(point.at, point.op, point.pattern, before=point.before)
    code, messages = rehearsal.run(store, **variables(disk))
    assert (code, disk.hits) == (-signal.SIGKILL, 1), f"{point}\n{messages}"
    point.assert_last_calls(disk.trace())
    assert_nothing_half_made(rehearsal, store)


def test_a_kill_at_any_point_of_a_commit_and_in_the_recovery_loses_nothing(
    rehearsal: Rehearsal, make_disk: MakeDisk
) -> None:
    """Each run recovers from the previous kill and is killed at the next point."""

    def kill_along(chain: str) -> None:
        disk = make_disk(chain)
        store = disk.root / "store"
        if chain == "aggregate":
            rehearsal.store_without_shards(store)
        for point in CHAINS[chain]:
            kill_at(rehearsal, disk, store, point)
        assert_the_next_run_makes_the_rest(rehearsal, store)

    two_at_once(kill_along, CHAINS)


class BadCall(NamedTuple):
    """A failing call: which one, with which error, and whether all later ones fail too."""

    error: int
    ops: Op
    at: int
    is_lasting: bool


def draw_bad_calls(seed: int) -> list[BadCall]:
    """Draw calls of a whole run: for each errno, one that fails once and one that keeps failing."""
    draw = random.Random(seed)  # noqa: S311 not for secrets
    calls = []
    for error, lasting in LASTING.items():
        at = draw.randint(1, sum(number for op, number in CALLS.items() if op in lasting))
        calls.append(BadCall(error, lasting, at, is_lasting=True))
        op = draw.choice(list(CALLS))
        calls.append(BadCall(error, op, draw.randint(1, CALLS[op]), is_lasting=False))
    return calls


def test_a_call_that_fails_is_told_or_cured_and_the_next_run_is_right(
    rehearsal: Rehearsal, make_disk: MakeDisk
) -> None:
    def fail(bad: BadCall) -> None:
        disk = make_disk(f"{bad.error}-{bad.ops.value}-{bad.at}")
        store = disk.root / "store"
        disk.fail(bad.error, bad.at, bad.ops, lasting=bad.is_lasting)
        code, messages = rehearsal.run(store, **variables(disk))
        assert disk.hits, bad
        assert code in EXITS, f"{bad}\n{messages}"
        assert "Traceback" not in messages, f"{bad}\n{messages}"
        assert list(store.rglob("*.tmp")) == [], bad
        assert list(store.rglob(".staging-*")) == [], bad
        assert_nothing_half_made(rehearsal, store)
        assert_the_next_run_makes_the_rest(rehearsal, store)

    two_at_once(fail, draw_bad_calls(seed=3))


@pytest.mark.parametrize("offsets", [(-DAY,), (DAY,), (DAY, -DAY, 0)], ids=["back", "on", "jumps"])
def test_a_wrong_clock_changes_no_result(
    rehearsal: Rehearsal, make_disk: MakeDisk, tmp_path: Path, offsets: tuple[int, ...]
) -> None:
    disk = make_disk("clock")
    store = rehearsal.store_without_shards(disk.root / "store")
    faults = tmp_path / "faults.json"
    faults.write_text('{"seconds_per_batch": 0.2}')
    disk.clock_offset = offsets[0]
    process = rehearsal.start(store, **variables(disk), **{FAULTS_VARIABLE: str(faults)})
    for offset in itertools.cycle(offsets):
        disk.clock_offset = offset
        if process.poll() is not None:
            break
        time.sleep(0.3)
    messages = process.communicate()[1]
    assert process.returncode == 0, messages
    (first,) = store.glob("runs/2*")
    assert latest(store) == first
    rehearsal.check(store)
    assert_the_next_run_makes_the_rest(rehearsal, store)
    (second,) = set(store.glob("runs/2*")) - {first}
    assert latest(store) == second


def test_an_episode_of_the_soak_depends_on_its_seed_alone() -> None:
    episodes = [Episode.draw(str(seed)) for seed in range(200)]
    assert [Episode.draw(str(seed)) for seed in range(200)] == episodes
    rounds = [one for episode in episodes for one in episode.rounds]
    drawn = {type(disturbance) for one in rounds for disturbance in one.disturbances}
    assert drawn == {ClockJumps, *(kind for line in LINES for kind in line)}
    assert {damage.how for one in rounds for damage in one.damages} == set(HARMS)


def test_episodes_of_the_soak_end_right(
    rehearsal: Rehearsal, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    library = build_library(tmp_path_factory.getbasetemp())

    def play(seed: str) -> None:
        episode = replace(Episode.draw(seed), is_big=False)
        # As in a soak, something may happen while a run imports its modules.
        playing = Play(episode, replace(rehearsal, is_warm=False), library, tmp_path / seed)
        try:
            figures = playing.play()
        finally:
            playing.end()
        rows = [figures[f"rows {what}"] for what in ("in", "lost", "twice")]
        assert rows == [SMALL, 0, 0]

    two_at_once(play, ["a", "m"])  # short ones, with disturbances of most kinds
