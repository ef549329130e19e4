"""A disk and a clock for programs under test that fail, kill and lie on request.

`FaultyDisk` runs programs with the library of `faulty_disk.c` before the C library. It counts the
calls by which they change files under its root, notes them in a trace, and at the one a test asks
for makes it fail, or kills or stops the program. It works across all processes of the program.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from enum import IntFlag
from pathlib import Path
from typing import NamedTuple

import pytest

_PATH_MAX = 4096
_FOR_EVER = 2**64 - 1
_COUNT, _FAIL, _SIGNAL = range(3)
_RANDOM = {  # what differs from run to run in the names of the store
    r"\d+-[0-9a-f]{8}\.tmp": "*.tmp",
    r"\.staging-\w{8}": ".staging-*",
    r"\d{8}-\d{6}-[0-9a-f]{6}": "*",
}


class Op(IntFlag):
    """The calls that are seen, by what they do: `FSYNC` is also of folders, `LINK` also symbolic.

    `OPEN` is to open for writing, `REMOVE` is of files and folders.
    """

    OPEN = 1
    WRITE = 2
    FSYNC = 4
    RENAME = 8
    LINK = 16
    MKDIR = 32
    REMOVE = 64
    ANY = 127


class Call(NamedTuple):
    """One line of a trace: what was done, and to which path under the root (`.`: the root).

    The path of a rename or a link is the name that it makes.
    """

    op: Op
    path: str

    @property
    def pattern(self) -> str:
        """The path as a pattern that fits it in every run, without what is random in it."""
        pattern = self.path
        for random, star in _RANDOM.items():
            pattern = re.sub(random, star, pattern)
        return pattern


class _Control(ctypes.Structure):
    """The shared file, as `struct control` of faulty_disk.c."""

    _fields_ = (
        ("root", ctypes.c_char * _PATH_MAX),
        ("log", ctypes.c_char * _PATH_MAX),
        ("pattern", ctypes.c_char * _PATH_MAX),
        ("ops", ctypes.c_uint32),
        ("action", ctypes.c_uint32),
        ("number", ctypes.c_int32),
        ("spared_group", ctypes.c_int32),
        ("before", ctypes.c_uint32),
        ("whole_group", ctypes.c_uint32),
        ("first", ctypes.c_uint64),
        ("last", ctypes.c_uint64),
        ("matched", ctypes.c_uint64),
        ("hits", ctypes.c_uint64),
        ("clock_offset", ctypes.c_int64),
    )


class FaultyDisk:
    """The plan for all that happens under `root`, which may be changed while programs run.

    A plan is made of the calls that it looks at (`ops`, and `pattern` against the path under the
    root, where `*` also stands for slashes) and of the one that it strikes (`at`, counted from 1
    since the plan was made). Start programs with `start` or `run`, in a group of their own: in the
    test's own group only the one process is killed.
    """

    def __init__(self, library: Path, root: Path, folder: Path) -> None:
        """Use `folder`, which must not be under `root`, for the control file and the trace."""
        root.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        self.root = root.resolve()
        self._trace = folder.resolve() / "trace"
        control = folder.resolve() / "control"
        control.write_bytes(bytes(ctypes.sizeof(_Control)))
        with control.open("r+b") as file:
            self._control = _Control.from_buffer(mmap.mmap(file.fileno(), 0))
        self._control.root = os.fsencode(self.root)
        self._control.log = os.fsencode(self._trace)
        self._control.spared_group = os.getpgrp()
        self.environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAULTY_DISK": str(control),
        }
        self.count()

    def count(self, ops: Op = Op.ANY, pattern: str = "*") -> None:
        """Let everything pass, and count these calls in `matched` from 0."""
        self._plan(_COUNT, 0, ops, pattern)

    def fail(
        self, error: int, at: int = 1, ops: Op = Op.ANY, pattern: str = "*", lasting: bool = False
    ) -> None:
        """Let the call number `at` fail with an errno; if `lasting`, those after it too."""
        self._plan(_FAIL, error, ops, pattern, at, _FOR_EVER if lasting else at)

    def kill(
        self,
        at: int = 1,
        ops: Op = Op.ANY,
        pattern: str = "*",
        *,
        before: bool = False,
        whole_group: bool = True,
        by: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Send a signal right after, or before, the call number `at`.

        It goes to the caller's process group, or just to the calling process. SIGSTOP holds it
        there until it gets SIGCONT.
        """
        self._plan(_SIGNAL, by, ops, pattern, at, at, before=before, whole_group=whole_group)

    @property
    def matched(self) -> int:
        """How many of the plan's calls there were since it was made."""
        return int(self._control.matched)

    @property
    def hits(self) -> int:
        """How many of them were struck."""
        return int(self._control.hits)

    @property
    def clock_offset(self) -> int:
        """The seconds by which programs see the time of day moved; not the times of files."""
        return int(self._control.clock_offset)

    @clock_offset.setter
    def clock_offset(self, seconds: int) -> None:
        self._control.clock_offset = seconds

    def trace(self) -> list[Call]:
        """Give every call that was seen since the trace was cleared, also those that failed."""
        text = self._trace.read_text(encoding="utf-8") if self._trace.exists() else ""
        calls = (line.split("\t", 1) for line in text.splitlines())
        return [Call(Op[name.upper()], path) for name, path in calls]

    def clear_trace(self) -> None:
        """Begin a new trace."""
        self._trace.unlink(missing_ok=True)

    def start(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program on this disk, with pipes and in a process group of its own.

        `env` comes on top of the `environment`, which is this one's with what the library needs.
        """
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environment, **(env or {})},
            cwd=cwd,
            text=True,
            start_new_session=True,
        )

    def run(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as `start` does, and give how it ended and what it printed."""
        with self.start(command, env, cwd) as process:
            output, errors = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def _plan(
        self,
        action: int,
        number: int,
        ops: Op,
        pattern: str,
        first: int = 0,
        last: int = 0,
        *,
        before: bool = False,
        whole_group: bool = True,
    ) -> None:
        control = self._control
        control.action = _COUNT  # until the rest is in place
        control.ops, control.pattern, control.number = ops, os.fsencode(pattern), number
        control.first, control.last = first, last
        control.before, control.whole_group = before, whole_group
        control.matched = control.hits = 0
        control.action = action


def build_library(folder: Path) -> Path:
    """Compile faulty_disk.c into a folder, or skip the test where there is no compiler."""
    library = folder / "faulty_disk.so"
    if not library.exists():
        if shutil.which("gcc") is None:
            pytest.skip("a faulty disk needs gcc")
        source = Path(__file__).with_suffix(".c")
        options = ("-std=gnu11", "-O2", "-shared", "-fPIC")
        subprocess.run(["gcc", *options, source, "-o", library, "-ldl"], check=True)
    return library


@pytest.fixture
def disk(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> FaultyDisk:
    """A disk of the test's own, whose root is an empty folder."""
    library = build_library(tmp_path_factory.getbasetemp())
    return FaultyDisk(library, tmp_path / "disk", tmp_path / "plan")
