"""Disturbances of runs, drawn from a seeded generator before they are applied.

Each class is one kind of disturbance: `draw` decides everything without side effects, `prepare` is
called before the runs start, `disturb` while they are running and `end` afterwards. They count what
actually happened in `scene.figures`.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import ClassVar

import psutil
import pyarrow.parquet as pq

from tasks.engine.fake import FAULTS_VARIABLE, row_digest
from tests.support.faulty_disk import FaultyDisk, Op
from tests.support.rehearsal import Rehearsal

DAY = 86400
TAKES_SPACE = Op.OPEN | Op.WRITE | Op.LINK | Op.MKDIR
NEEDS_PERMISSION = TAKES_SPACE | Op.RENAME
LATEST_START = 7.0  # seconds; about as long as a run of the small input takes
ENGINE_KINDS = ("crash", "hang", "out_of_memory", "wrong_shape", "not_a_number")


@dataclass
class Scene:
    """The runs over one store, and the figures that disturbances count."""

    rehearsal: Rehearsal
    disk: FaultyDisk
    folder: Path
    figures: Counter[str]
    variables: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    runs: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.disk.root / "store"

    def is_running(self, seconds: float, run: int | None = None) -> bool:
        """Wait, and return whether a run, or by default any run, is still running afterwards."""
        watched = self.runs if run is None else [self.runs[run]]
        end = time.monotonic() + seconds
        while is_running := any(process.poll() is None for process in watched):
            if time.monotonic() >= end:
                break
            time.sleep(0.02)
        return is_running

    def send(self, run: int, to_group: bool, number: signal.Signals) -> bool:
        """Send a signal to a run's parent process or its group; return whether it was sent."""
        process = self.runs[run]
        if process.poll() is None:  # our child, so its id cannot have been reused
            (os.killpg if to_group else os.kill)(process.pid, number)
            return True
        return False


class Drawn:
    """Base of what was drawn, with a short text."""

    def __str__(self) -> str:
        values = [getattr(self, one.name) for one in fields(self)]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(map(_in_short, values))})"


def _in_short(value: object) -> str:
    if isinstance(value, Enum):
        return value.name or "?"
    if isinstance(value, tuple):
        return f"({', '.join(map(_in_short, value))})"
    return f"{value:.2g}" if isinstance(value, float) else str(value)


class Disturbance(Drawn, ABC):
    """Something that happens to all runs while they are running, or to the run numbered `run`.

    `exits` are the exit codes, besides 0, that are allowed because of it.
    """

    exits: ClassVar[frozenset[int]] = frozenset()

    @classmethod
    @abstractmethod
    def draw(cls, rng: random.Random, runs: int) -> Disturbance:
        """Decide what happens to this number of runs, and when."""

    def prepare(self, scene: Scene) -> None:
        """Prepare before the runs start."""

    def disturb(self, scene: Scene) -> None:
        """Disturb the running runs."""

    def end(self, scene: Scene) -> None:
        """Clean up and count what happened, after the runs have ended."""


def draw_start(rng: random.Random) -> float:
    return round(rng.uniform(0.3, LATEST_START), 2)


@dataclass(frozen=True)
class Signal(Disturbance):
    """A signal that ends a run, to its parent process or to all of its group."""

    run: int
    number: signal.Signals
    to_group: bool
    after: float

    @property
    def exits(self) -> frozenset[int]:
        # 130 normally; while Python is importing, 1 or the signal itself.
        can_be_handled = self.number != signal.SIGKILL
        return frozenset({-self.number, *((130, 1) if can_be_handled else ())})

    @classmethod
    def draw(cls, rng: random.Random, runs: int) -> Signal:
        number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        return cls(rng.randrange(runs), number, rng.random() < 0.5, draw_start(rng))

    def disturb(self, scene: Scene) -> None:
        if scene.is_running(self.after, self.run) and scene.send(
            self.run, self.to_group, self.number
        ):
            target = "group" if self.to_group else "parent"
            scene.figures[f"kills: {self.number.name} of the {target}"] += 1


@dataclass(frozen=True)
class Pause(Disturbance):
    """SIGSTOP and later SIGCONT; sometimes so late that another run takes over its shard."""

    run: int
    to_group: bool
    after: float
    seconds: float

    @classmethod
    def draw(cls, rng: random.Random, runs: int) -> Pause:
        seconds = rng.uniform(16, 20) if rng.random() < 0.2 else rng.uniform(0.1, 3)
        return cls(rng.randrange(runs), rng.random() < 0.5, draw_start(rng), round(seconds, 1))

    def disturb(self, scene: Scene) -> None:
        if not scene.is_running(self.after, self.run):
            return
        if scene.send(self.run, self.to_group, signal.SIGSTOP):
            time.sleep(self.seconds)
            scene.send(self.run, self.to_group, signal.SIGCONT)
            scene.figures["stops"] += 1


@dataclass(frozen=True)
class ChildKill(Disturbance):
    """SIGKILL of a child process: usually the worker, otherwise one that exports or loads."""

    run: int
    after: float
    exits = frozenset({1, 3})

    @classmethod
    def draw(cls, rng: random.Random, runs: int) -> ChildKill:
        return cls(rng.randrange(runs), draw_start(rng))

    def disturb(self, scene: Scene) -> None:
        seconds = self.after
        while scene.is_running(seconds, self.run):
            for child in find_children(scene.runs[self.run].pid):
                with suppress(psutil.NoSuchProcess):  # it has just ended
                    child.kill()
                    scene.figures["kills: SIGKILL of a child"] += 1
                    return
            seconds = 0.02


def find_children(pid: int) -> Iterator[psutil.Process]:
    """Yield the spawned processes of a run; none if it has ended."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(pid).children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            if any("spawn_main" in word for word in child.cmdline()):
                yield child


@dataclass(frozen=True)
class DiskFault(Disturbance):
    """A failing call: once, or all such calls from then on until the disk recovers."""

    error: str  # name of the errno
    ops: Op
    at: int
    lasting: float | None  # seconds
    exits = frozenset({1, 2, 3})

    @classmethod
    def draw(cls, rng: random.Random, runs: int) -> DiskFault:
        error = rng.choice(["ENOSPC", "EACCES", "EIO"])
        if rng.random() < 0.5:
            ops = TAKES_SPACE if error == "ENOSPC" else NEEDS_PERMISSION
            return cls(error, ops, rng.randint(1, 400), round(rng.uniform(0.1, 5), 1))
        return cls(error, *draw_call(rng), None)

    def prepare(self, scene: Scene) -> None:
        lasting = self.lasting is not None
        scene.disk.fail(getattr(errno, self.error), self.at, self.ops, lasting=lasting)

    def disturb(self, scene: Scene) -> None:
        while self.lasting is not None and scene.is_running(0.02):
            if scene.disk.hits:
                scene.is_running(self.lasting)
                self.end(scene)
                return

    def end(self, scene: Scene) -> None:
        scene.figures[f"disk faults: {self.error}"] += scene.disk.hits
        scene.disk.count()


@dataclass(frozen=True)
class DiskKill(Disturbance):
    """SIGKILL of the process group immediately before or after a call that changes the store."""

    op: Op
    at: int
    before: bool
    exits = frozenset({-signal.SIGKILL})

    @classmethod
    def draw(cls, rng: random.Random, runs: int) -> DiskKill:
        return cls(*draw_call(rng), rng.random() < 0.5)

    def prepare(self, scene: Scene) -> None:
        scene.disk.kill(self.at, self.op, before=self.before)

    def end(self, scene: Scene) -> None:
        scene.figures["kills: SIGKILL at a commit point"] += scene.disk.hits
        scene.disk.count()


def draw_call(rng: random.Random) -> tuple[Op, int]:
    """Draw one call of a run; the counts are about those of a run of the small input."""
    counts = {Op.OPEN: 40, Op.WRITE: 400, Op.FSYNC: 60, Op.RENAME: 28, Op.MKDIR: 50, Op.LINK: 1}
    op = rng.choice(list(counts))
    return op, rng.randint(1, counts[op])


@dataclass(frozen=True)
class ClockJumps(Disturbance):
    """A clock that is a day off and jumps."""

    offsets: tuple[int, ...]  # each for a second

    @classmethod
    def draw(cls, rng: random.Random, runs: int) -> ClockJumps:
        later = (rng.choice([-DAY, 0, DAY]) for _ in range(rng.randint(0, 5)))
        return cls((rng.choice([-DAY, DAY]), *later))

    def prepare(self, scene: Scene) -> None:
        self._jump(scene, self.offsets[0])

    def disturb(self, scene: Scene) -> None:
        for offset in self.offsets[1:]:
            if not scene.is_running(1.0):
                return
            self._jump(scene, offset)

    def _jump(self, scene: Scene, offset: int) -> None:
        scene.figures["clock jumps"] += offset != scene.disk.clock_offset
        scene.disk.clock_offset = offset

    def end(self, scene: Scene) -> None:
        scene.disk.clock_offset = 0


@dataclass(frozen=True)
class EngineFaults(Disturbance):
    """Rows that make the engine fail, each once."""

    rows: tuple[tuple[float, str], ...]  # position among the rows, from 0 to 1, and kind of fault

    @classmethod
    def draw(cls, rng: random.Random, runs: int) -> EngineFaults:
        count = rng.randint(1, 3)
        return cls(tuple((rng.random(), rng.choice(ENGINE_KINDS)) for _ in range(count)))

    def prepare(self, scene: Scene) -> None:
        digests = list_digests(scene.rehearsal.undisturbed)
        kinds = {digests[int(where * len(digests))]: kind for where, kind in self.rows}
        faults = [{"row": row, "kind": kind, "once": True} for row, kind in kinds.items()]
        path = scene.folder / "faults.json"
        path.write_text(json.dumps({"rows": faults, "seconds_per_batch": 0.05}))
        scene.variables[FAULTS_VARIABLE] = str(path)
        scene.overrides.append("predict.batch_deadline_seconds=2")

    def end(self, scene: Scene) -> None:
        for used in scene.folder.glob("faults.json.*"):
            used.unlink()
            scene.figures["engine faults"] += 1


def list_digests(store: Path) -> list[str]:
    """Return the digests by which faults name the usable rows."""
    parts = sorted(store.glob("datasets/*/part-*.parquet"))
    tables = [pq.read_table(part, columns=["input_ids"]) for part in parts]
    return [row_digest(ids) for table in tables for ids in table["input_ids"].to_pylist()]


# Simultaneous disturbances come from different lines: two of the same line cancel or hide each
# other, and a batch that fails three times in a row for different reasons counts as bad.
LINES: tuple[tuple[type[Disturbance], ...], ...] = (
    (Signal,),
    (Pause, ChildKill, EngineFaults, EngineFaults),
    (DiskFault, DiskKill),
)
