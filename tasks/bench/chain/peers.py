"""datatrove and Ray Data as contenders of the chain."""

from __future__ import annotations

import subprocess
from itertools import cycle
from pathlib import Path

from tasks.bench.chain.processes import Usage, follow
from tasks.bench.options import available_cores

SCRIPT = Path(__file__).with_name("peer.py")
PEERS = ("datatrove", "ray")


def split_passages(passages: Path) -> Path:
    """Return a folder with the lines of a file, in a file for each core; it is made if needed."""
    folder = passages.with_suffix("")
    if not folder.exists():
        folder.mkdir()
        files = [(folder / f"{part}.jsonl").open("wb") for part in range(available_cores())]
        with passages.open("rb") as lines:
            for file, line in zip(cycle(files), lines):
                file.write(line)
        for file in files:
            file.close()
    return folder


def run_peer(name: str, python: Path, source: Path, folder: Path) -> tuple[float, Usage]:
    """Run a peer on the files in `source`, with its output in `folder`; return as `follow` does.

    Raises:
        WorkerError: it failed.
    """
    command = [str(python), str(SCRIPT), name, str(folder / "output"), str(source)]
    process = subprocess.Popen(  # noqa: S603 our own command
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    total, usage = follow(process, folder / "latest")
    return max(total, sum(usage.parts.values())), usage  # Ray does not wait for its own processes
