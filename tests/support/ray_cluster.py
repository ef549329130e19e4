"""A Ray cluster on this machine: a head without resources, and nodes that can be killed."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.servers import free_port

MEMORY = 80_000_000  # bytes of each node's object store, which nothing here needs
RAY = Path(sys.executable).with_name("ray")
PATIENCE = 300.0
HEAD = "head"
TRIES = 10
# A head that is gone is noticed sooner than after Ray's 60 seconds.
VARIABLES = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray takes no token from a variable that is shorter than this.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


class RayCluster:
    """The nodes, by their names; each has one CPU, and the head none."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder, self._variables = folder, variables
        self._port = free_port()
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def folder(self) -> Path:
        """With the logs of everything on every node."""
        return self._folder

    def home(self, name: str) -> Path:
        """Return the home of a node's user: as little as machines do nodes share one."""
        return self._folder / f"home-{name}"

    def start(self, name: str, *without: str) -> None:
        """Start a node, and wait until it has joined; the first one must be the head.

        Its processes lack some variables. On a machine that is very busy, Ray may give up
        starting one.
        """
        for _ in range(TRIES):
            self._nodes[name] = self._open(name, without)
            if self._has_started(name):
                return
            self.kill(name)
        raise TimeoutError(self._log(name).read_text(encoding="utf-8"))

    def _open(self, name: str, without: Sequence[str]) -> subprocess.Popen[bytes]:
        home = self.home(name)
        home.mkdir(exist_ok=True)
        variables = {**os.environ, **VARIABLES, **self._variables, "HOME": str(home)}
        where = [f"--address={self.address}", "--num-cpus=1"]
        if name == HEAD:
            where = ["--head", f"--port={self._port}", "--num-cpus=0"]
            where += ["--include-dashboard=false", f"--temp-dir={self._folder}"]
        with self._log(name).open("wb") as log:
            return subprocess.Popen(
                [
                    *(str(RAY), "start", "--block", f"--node-name={name}", "--num-gpus=0"),
                    *(f"--object-store-memory={MEMORY}", "--disable-usage-stats", *where),
                ],
                env={key: value for key, value in variables.items() if key not in without},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _has_started(self, name: str) -> bool:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._nodes[name].poll() is None:
            if "Ray runtime started" in self._log(name).read_text(encoding="utf-8"):
                return True
            time.sleep(0.2)
        return False

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def has(self, name: str) -> bool:
        """Whether a node was started and not killed since."""
        return name in self._nodes

    def have(self, *names: str) -> None:
        """Start and kill nodes until there are these, and the head."""
        for name in self._nodes.keys() - {HEAD, *names}:
            self.kill(name)
        for name in sorted({*names} - self._nodes.keys()):
            self.start(name)

    def kill(self, name: str) -> None:
        """Kill everything of a node at once, as if its power were cut."""
        with suppress(ProcessLookupError):
            os.killpg(self._nodes[name].pid, signal.SIGKILL)
        self._nodes.pop(name).wait()

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to everything of a node."""
        os.killpg(self._nodes[name].pid, number)

    def stop(self) -> None:
        """Kill every node."""
        for name in list(self._nodes):
            self.kill(name)


def find_drivers(run: int) -> list[int]:
    """Return the processes of a run that are connected to a cluster: those that have loaded Ray."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(run).children(recursive=True):
            with suppress(OSError):
                if "_raylet" in Path(f"/proc/{child.pid}/maps").read_text(encoding="utf-8"):
                    found.append(child.pid)
    return found


@contextmanager
def ray_cluster(**variables: str) -> Iterator[RayCluster]:
    """Yield a cluster that has only its head yet, whose nodes have these variables.

    Its folder has a short path, because Ray makes sockets in it.
    """
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as path:
        cluster = RayCluster(Path(path), variables)
        try:
            cluster.start(HEAD)
            yield cluster
        finally:
            cluster.stop()
