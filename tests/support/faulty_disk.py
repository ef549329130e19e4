"""A disk with injected faults and a clock with an offset, for programs under test.

`FaultyDisk` runs programs with the library of `faulty_disk.c` preloaded. It counts the calls that
change files under its root and writes them to a trace. At the call that a test selects, it returns
an error, or kills or stops the program. It works across all processes of the program.
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
_RANDOM = {  # the random parts of names in the store
    r"\d+-[0-9a-f]{8}\.tmp": "*.tmp",
    r"\.staging-\w{8}": ".staging-*",
    r"\d{8}-\d{6}-[0-9a-f]{6}": "*",
}


class Op(IntFlag):
    """The intercepted calls by their effect.

    `OPEN` is opening for writing. `FSYNC` and `REMOVE` include folders, `LINK` symbolic links.
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
    """One line of a trace: the operation and the path relative to the root.

    The path of a rename or a link is the new name.
    """

    op: Op
    path: str

    @property
    def pattern(self) -> str:
        """A pattern that matches the path in every run: its random parts are `*`."""
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
    """Faults in the calls under `root`; the plan may be changed while programs run.

    A plan selects calls by `ops` and by `pattern`, matched against the path relative to the root,
    where `*` also matches slashes. It acts on one of them, `at`, counted from 1 since the plan was
    made. Programs have to be started with `start` or `run`, which give them their own process
    group: in the group of the test only the single process is killed.
    """

    def __init__(self, library: Path, root: Path, folder: Path) -> None:
        """Keep the control file and the trace in `folder`, which must not be under `root`."""
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
        """Inject nothing; count these calls in `matched` from 0."""
        self._plan(_COUNT, 0, ops, pattern)

    def fail(
        self, error: int, at: int = 1, ops: Op = Op.ANY, pattern: str = "*", lasting: bool = False
    ) -> None:
        """Make call number `at` fail with an errno; if `lasting`, all later ones too."""
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
        """Send a signal immediately after, or before, call number `at`.

        It goes to the caller's process group or only to the calling process. SIGSTOP stops it at
        the call until it receives SIGCONT.
        """
        self._plan(_SIGNAL, by, ops, pattern, at, at, before=before, whole_group=whole_group)

    @property
    def matched(self) -> int:
        """The number of calls that matched the plan since it was made."""
        return int(self._control.matched)

    @property
    def hits(self) -> int:
        """The number of calls in which the plan acted."""
        return int(self._control.hits)

    @property
    def clock_offset(self) -> int:
        """Seconds added to the time of day that programs see; times of files do not change."""
        return int(self._control.clock_offset)

    @clock_offset.setter
    def clock_offset(self, seconds: int) -> None:
        self._control.clock_offset = seconds

    def trace(self) -> list[Call]:
        """Return all calls since the trace was cleared, including failed ones."""
        text = self._trace.read_text(encoding="utf-8") if self._trace.exists() else ""
        calls = (line.split("\t", 1) for line in text.splitlines())
        return [Call(Op[name.upper()], path) for name, path in calls]

    def clear_trace(self) -> None:
        """Start a new trace."""
        self._trace.unlink(missing_ok=True)

    def start(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program on this disk, with pipes and in its own process group.

        `env` is added to `environment`: that of this process and what the library needs.
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
        """Run a program as `start` does; return its exit code and output."""
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
    """Compile faulty_disk.c into a folder; skip the test if there is no compiler."""
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
    """A disk for this test, whose root is an empty folder."""
    library = build_library(tmp_path_factory.getbasetemp())
    return FaultyDisk(library, tmp_path / "disk", tmp_path / "plan")
