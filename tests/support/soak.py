"""Soak test: random disturbances for some minutes, with the oracle after each episode.

    python -m tests.support.soak --minutes 20 [--seed N]

An episode is one store, some rounds of disturbed runs, and then one undisturbed run, whose results
must be those of a store that nothing disturbed. It is drawn from the seed in advance, except for
the interleaving of processes: a seed gives the same episodes, but not always the same outcome.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from flows.server.settings import PREFECT_DEFAULTS
from tasks.store.lock import LOCK_FILE
from tests.support.disturbances import Scene
from tests.support.episodes import BIG, SMALL, Episode, Round
from tests.support.faulty_disk import FaultyDisk, build_library
from tests.support.rehearsal import WENTI, Rehearsal, outside_environment, write_passages

AT_ONCE = 2
RUN_SECONDS = 300  # far more than any run takes, however disturbed
ORPHAN_SECONDS = 30


class ViolationError(Exception):
    """A guarantee was violated."""


def require(holds: bool, *facts: object) -> None:
    if not holds:
        raise ViolationError(" ".join(map(str, facts)))


class Play:
    """The execution of one episode in its own folder."""

    def __init__(self, episode: Episode, rehearsal: Rehearsal, library: Path, folder: Path) -> None:
        self.episode, self.rehearsal = episode, rehearsal
        disk = FaultyDisk(library, folder / "disk", folder / "plan")
        self.scene = Scene(rehearsal, disk, folder, Counter(episodes=1))
        self.sessions: set[int] = set()

    def play(self) -> Counter[str]:
        """Play the episode and return its figures; raises if a check fails."""
        self._prepare_store()
        for one in self.episode.rounds:
            self._play_round(one)
        self.scene.runs = []
        self._start([], {})
        self._finish([{0}])
        self.rehearsal.check(self.scene.store)
        require_no_process(self.sessions)
        self._collect()
        require_no_leftovers(self.scene.store)
        self.rehearsal.check(self.scene.store)
        self.scene.figures.update(count_rows(self.rehearsal, self.scene.store))
        return self.scene.figures

    def _prepare_store(self) -> None:
        if self.episode.start == "done":
            shutil.copytree(self.rehearsal.undisturbed, self.scene.store, symlinks=True)
        elif self.episode.start == "without shards":
            self.rehearsal.store_without_shards(self.scene.store)
        elif self.episode.start == "with known rows":
            self._predict_other_passages()

    def _predict_other_passages(self) -> None:
        """Make some of the rows known, from a file that has them in another order."""
        passages = self.scene.disk.root.parent / "others.jsonl"
        passages.parent.mkdir(parents=True, exist_ok=True)
        lines = self.rehearsal.passages.read_text(encoding="utf-8").splitlines(keepends=True)
        passages.write_text("".join(lines[len(lines) // 3 :][::-1]), encoding="utf-8")
        self._start([f"dataset.predict_file={passages}"], {})
        self._finish([{0}])
        self.scene.runs = []

    def _harm_store(self, one: Round) -> None:
        scene = self.scene
        for damage in one.damages:
            scene.figures[f"damages: {damage.how}"] += damage.do(scene.store)
        if one.wipes and (scene.store / "predictions").is_dir():
            shutil.rmtree(scene.store / "predictions")
            scene.figures["damages: all shards"] += 1
        if one.collects and scene.store.is_dir():
            self._collect()

    def _play_round(self, one: Round) -> None:
        self._harm_store(one)
        scene = self.scene
        disk = {name: scene.disk.environment[name] for name in ("LD_PRELOAD", "FAULTY_DISK")}
        scene.variables, scene.overrides = disk, []
        for disturbance in one.disturbances:
            disturbance.prepare(scene)
        scene.runs = []
        for _ in range(one.runs):
            self._start(scene.overrides, scene.variables)
        with ThreadPoolExecutor(len(one.disturbances)) as threads:
            doing = [threads.submit(each.disturb, scene) for each in one.disturbances]
            self._finish([one.exits(run) for run in range(one.runs)])
            for each in doing:
                each.result()
        for disturbance in one.disturbances:
            disturbance.end(scene)

    def _start(self, overrides: list[str], variables: dict[str, str]) -> None:
        process = self.rehearsal.start(self.scene.store, *overrides, **variables)
        self.sessions.add(process.pid)
        self.scene.runs.append(process)
        self.scene.figures["runs"] += 1

    def _finish(self, exits: list[set[int]]) -> None:
        """Wait for the runs and check their exit codes."""
        for process, expected in zip(self.scene.runs, exits, strict=True):
            try:
                said = process.communicate(timeout=RUN_SECONDS)[1]
            except subprocess.TimeoutExpired:
                self.end()  # so that the disturbing threads end too
                raise ViolationError(f"process {process.pid} does not end") from None
            code = process.returncode
            self.scene.figures[f"exit code {code}"] += 1
            require(code in expected, f"exit code {code}, not of {expected}:\n{said}")

    def _collect(self) -> None:
        """Delete everything that no run refers to, following the messages of gc as a user does."""
        self.scene.figures["gc"] += 1
        while (done := self._gc()).returncode == 1:
            found = re.search(r"nothing was removed; repair it, or delete (\S+),", done.stderr)
            if found is None:
                raise ViolationError(done.stderr)
            shutil.rmtree(found[1])
        require(done.returncode == 0, done.stderr)

    def _gc(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [WENTI, "gc", "--delete", "--store", self.scene.store],
            env=self.rehearsal.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_SECONDS,
        )

    def end(self) -> None:
        """Kill what is still running."""
        for pid in find_processes(self.sessions):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def find_processes(sessions: set[int]) -> list[int]:
    """Return the living processes of the runs, including those that lost their parent."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def require_no_process(sessions: set[int]) -> None:
    end = time.monotonic() + ORPHAN_SECONDS
    while (left := find_processes(sessions)) and time.monotonic() < end:
        time.sleep(0.2)
    require(not left, "processes left behind:", [psutil.Process(pid).cmdline() for pid in left])


def require_no_leftovers(store: Path) -> None:
    hidden = [path for path in store.rglob(".*") if path != store / LOCK_FILE]
    require(not hidden, "left after gc:", hidden)


def count_rows(rehearsal: Rehearsal, store: Path) -> Counter[str]:
    """Return the figures of a store's latest results."""
    files = [store / "runs/latest" / name for name in ("predictions.parquet", "rejects.parquet")]
    predicted, rejected = (pq.read_table(file)["row"].to_pylist() for file in files)
    rows = range(len(rehearsal.passages.read_text(encoding="utf-8").splitlines()))
    return Counter(
        {
            "rows in": len(rows),
            "rows predicted": len(predicted),
            "rows rejected": len(rejected),
            "rows lost": len(set(rows) - {*predicted, *rejected}),
            "rows twice": len(predicted) + len(rejected) - len({*predicted, *rejected}),
        }
    )


@dataclass
class Soak:
    """Plays episodes, several at a time, until the time is over or a guarantee is violated."""

    seed: str
    rehearsals: dict[bool, Rehearsal]  # by `Episode.is_big`
    library: Path
    folder: Path
    ended: list[Counter[str]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    is_over: bool = False

    @property
    def figures(self) -> Counter[str]:
        """The figures of all episodes without a violation."""
        figures: Counter[str] = Counter()
        for one in self.ended:
            figures.update(one)  # a sum would leave out what is 0
        return figures

    def run(self, seconds: float) -> None:
        end, numbers = time.monotonic() + seconds, count(1)

        def play_on() -> None:
            while time.monotonic() < end and not self.broken and not self.is_over:
                self.play(Episode.draw(f"{self.seed}-{next(numbers)}"))

        with ThreadPoolExecutor(AT_ONCE) as threads:
            playing = [threads.submit(play_on) for _ in range(AT_ONCE)]
            try:
                for one in playing:
                    one.result()
            finally:
                self.is_over = True  # Ctrl-C: no further episode

    def play(self, episode: Episode) -> None:
        """Play an episode; on a violation, record it and keep its folder."""
        folder = self.folder / episode.seed
        play = Play(episode, self.rehearsals[episode.is_big], self.library, folder)
        started = time.monotonic()
        try:
            self.ended.append(play.play())
        except Exception:
            self.broken.append(f"{episode}\n{traceback.format_exc()}kept: {folder}")
        else:
            shutil.rmtree(folder)
            tell(f"{episode} | {time.monotonic() - started:.0f} s")
        finally:
            play.end()


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def serving() -> Iterator[str]:
    """Run a Prefect server during the block; yields its URL."""
    os.environ.update(PREFECT_DEFAULTS)  # before Prefect is imported
    from prefect.settings import get_current_settings
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=600):
        yield str(get_current_settings().api.url)


def rehearse(folder: Path, rows: int, server_url: str) -> Rehearsal:
    """Run a small job once without disturbances."""
    folder.mkdir()
    write_passages(folder / "passages.jsonl", rows)
    environment = outside_environment(server_url, folder / "prefect")
    rehearsal = Rehearsal(folder / "passages.jsonl", environment, folder / "store")
    code, said = rehearsal.run(rehearsal.undisturbed)
    require(code == 0, said)
    return rehearsal


def main() -> int:
    """Run the soak and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", default=str(secrets.randbelow(10**6)))
    options = parser.parse_args()
    tell(f"seed {options.seed}")
    folder = Path(tempfile.mkdtemp(prefix="wenti-soak-"))
    with serving() as url:
        rehearsals = {rows == BIG: rehearse(folder / f"{rows}", rows, url) for rows in (SMALL, BIG)}
        soak = Soak(options.seed, rehearsals, build_library(folder), folder)
        soak.run(options.minutes * 60)
    for name, figure in sorted(soak.figures.items()):
        tell(f"{figure:8d}  {name}")
    for one in soak.broken:
        tell(f"BROKEN (seed {options.seed}): {one}")
    if not soak.broken:
        shutil.rmtree(folder)
    return 1 if soak.broken else 0


if __name__ == "__main__":
    sys.exit(main())
