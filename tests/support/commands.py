"""Running Wenti: as a program, as a flow, and once for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.rehearsal import ROOT

RunFlow = Callable[..., dict[str, Any]]


def wenti(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("wenti")
    return subprocess.run(
        [str(program), *args], capture_output=True, text=True, cwd=cwd, check=False, timeout=600
    )


def made_once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Give a folder that the first of the processes which run the tests has filled."""
    base = folders.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)  # half made: the test that began it failed
            folder.mkdir()
            make(folder)
            (folder / "done").touch()
    return folder
