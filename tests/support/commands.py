"""Running Wenti as a program, and making things once for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.rehearsal import ROOT, WENTI
from tests.support.warm import WarmProcess

RunFlow = Callable[..., dict[str, Any]]

DEMO_ROWS = 60  # all 300 take five times as long, and `make demo` generates them
DEMO_ROWS_PER_SHARD = 12


def wenti(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command to the end in this environment.

    It starts warm, except in other folders: modules look for configs there when they are imported.
    """
    command = [str(WENTI), *args]
    mine = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    popen = WarmProcess if cwd == ROOT else subprocess.Popen
    with popen(
        command, cwd=cwd, env=mine, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        said = process.communicate(timeout=600)
    return subprocess.CompletedProcess(command, process.returncode, *said)


def demo_overrides(store: Path) -> list[str]:
    """Return what makes a run of the demo one of its first rows in five shards, in `store`."""
    return [
        f"store.path={store}",
        f"model.model_name_or_path={ROOT / 'data/checkpoint'}",
        f"dataset.predict_file={ROOT / 'data/passages/heldout.jsonl'}",
        f"dataset.limit={DEMO_ROWS}",
        f"shards.rows_per_shard={DEMO_ROWS_PER_SHARD}",
    ]


def made_once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the first test process to ask for it has filled with `make`."""
    base = folders.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)  # incomplete: the test that began it failed
            folder.mkdir()
            make(folder)
            (folder / "done").touch()
    return folder
