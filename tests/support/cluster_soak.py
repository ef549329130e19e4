"""Soak test of a Ray cluster on this machine: seeded kills of all that a run there depends on.

    python -m tests.support.cluster_soak [--kills 100] [--minutes 60] [--seed N]

An episode is one store and one job, started again after each end that a kill has caused, until it
is complete; the last start may be on this machine alone. Its results must be those of a run that
nothing disturbed, byte for byte. With WENTI_S3_SERVERS, as `make test-s3` sets it, some stores are
in SeaweedFS, which is killed too. A seed gives the same kills after the same seconds, but not
always the same outcome.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path, PurePath

import pyarrow.parquet as pq

from tasks.addresses import ObjectPlace
from tasks.engine.fake import FAULTS_VARIABLE
from tasks.operations.verify import verify_run
from tasks.runs.find import find_results
from tasks.store.files import storage_of
from tasks.store.layout import Store
from tasks.store.objects.connection import connect
from tests.support.object_servers import BUCKET, CREDENTIALS, VARIABLE, S3Server, s3_server
from tests.support.ray_cluster import HEAD, VARIABLES, RayCluster, find_drivers, ray_cluster
from tests.support.rehearsal import RESULTS, Rehearsal
from tests.support.soak import find_processes, rehearse, require, require_no_process, serving, tell

ROWS, NODES, KILLS = 300, 3, 10
FAULTS = '{"seconds_per_batch": 0.5}'
KINDS = {"node": 12, "all nodes": 1, "driver": 3, "run": 2, "head": 3}
"""What is killed, and how often in proportion."""

SERVER = "S3 server"
EXITS = {0, 1, 2, 3}
RUN_SECONDS = 400


@dataclass(frozen=True)
class Kill:
    """A SIGKILL, so many seconds after the one before; `which` chooses among nodes, from 0 to 1."""

    what: str
    after: float
    which: float

    @classmethod
    def draw(cls, rng: random.Random, kinds: dict[str, int]) -> Kill:
        (what,) = rng.choices(list(kinds), list(kinds.values()))
        return cls(what, round(rng.uniform(0.5, 6.0), 1), rng.random())


@dataclass(frozen=True)
class Episode:
    """Everything that happens to one store."""

    seed: str
    in_bucket: bool
    has_export: bool
    kills: tuple[Kill, ...]
    ends_on: str

    @classmethod
    def draw(cls, seed: str, has_server: bool) -> Episode:
        rng = random.Random(seed)  # noqa: S311 not for secrets
        in_bucket = has_server and rng.random() < 0.4
        kinds = {**KINDS, SERVER: 8} if in_bucket else KINDS
        kills = tuple(Kill.draw(rng, kinds) for _ in range(KILLS))
        return cls(seed, in_bucket, rng.random() < 0.5, kills, rng.choice(["ray", "local"]))

    def __str__(self) -> str:
        kills = ", ".join(f"{kill.what} +{kill.after:g}" for kill in self.kills)
        place = SERVER if self.in_bucket else "folder"
        return f"episode {self.seed}: {place}, last {self.ends_on} | {kills}"


@dataclass
class Machines:
    """The cluster, and the server if there is one."""

    cluster: RayCluster
    server: S3Server | None
    nodes: list[str] = field(default_factory=list)
    names: count[int] = field(default_factory=count)

    def kill(self, kill: Kill) -> None:
        """Kill nodes, the head or the server; what nodes and servers are for is soon there again.

        A node that is started has a name, and so a home, of its own.
        """
        if kill.what == "head":
            self.cluster.kill(HEAD)  # nodes end without it
        elif kill.what == SERVER:
            self._restart_server(5 * kill.which)
        else:
            for _ in range(1 if kill.what == "node" else len(self.nodes)):
                self.cluster.kill(self.nodes.pop(int(kill.which * len(self.nodes))))
            self.mend()

    def mend(self) -> None:
        """Have a head and all nodes again."""
        if not self.cluster.has(HEAD):
            self.cluster.stop()
            self.nodes.clear()
            self.cluster.start(HEAD)
        lacking = [f"n{next(self.names)}" for _ in range(NODES - len(self.nodes))]
        with ThreadPoolExecutor(NODES) as threads:
            list(threads.map(self.cluster.start, lacking))
        self.nodes += lacking

    def _restart_server(self, seconds: float) -> None:
        assert self.server is not None
        self.server.kill()
        time.sleep(seconds)
        self.server.start()


class Play:
    """The execution of one episode in its own folder."""

    def __init__(
        self, episode: Episode, machines: Machines, rehearsal: Rehearsal, folder: Path
    ) -> None:
        self.episode, self.machines, self.rehearsal = episode, machines, rehearsal
        self.figures: Counter[str] = Counter(episodes=1)
        self.sessions: set[int] = set()
        self.kills = deque(episode.kills)
        self.store: PurePath = folder / "store"
        self.overrides = ["cluster.wait_for_nodes_seconds=120"]
        if episode.in_bucket and machines.server is not None:
            self.store = ObjectPlace(f"{BUCKET}/{episode.seed}/store")
            connect(self.store, machines.server.url, str(folder / "cache"))
            self.overrides.append(f"store.endpoint={machines.server.url}")
        elif episode.has_export:
            rehearsal.store_without_shards(folder / "store")

    def play(self) -> Counter[str]:
        """Run until the job is complete; return the figures; raises if a check fails."""
        while self._run("ray" if self.kills else self.episode.ends_on) != 0:
            pass
        self.figures.update(judge(self.store, self.rehearsal))
        require_no_process(self.sessions)
        return self.figures

    def _run(self, executor: str) -> int:
        if executor == "ray":
            self.machines.mend()
        allowed = EXITS if self.kills else {0}
        where = [f"predict.executor={executor}", f"cluster.address={self.machines.cluster.address}"]
        run = self.rehearsal.start(self.store, *self.overrides, *where, **VARIABLES)
        self.sessions.add(run.pid)
        with ThreadPoolExecutor(1) as threads:
            saying = threads.submit(run.communicate, timeout=RUN_SECONDS)
            is_killed = self._disturb(run)
            try:
                said = saying.result()[1]
            except subprocess.TimeoutExpired:
                self.end()
                raise
        code = run.returncode
        self.figures[f"exit code {code}"] += 1
        is_right = code == -signal.SIGKILL if is_killed else code in allowed
        require(is_right and (code != 1 or "was lost" in said), f"exit code {code}:\n{said}")
        return code

    def _disturb(self, run: subprocess.Popen[str]) -> bool:
        """Kill what is due while the run lives; return whether the run itself was killed."""
        while self.kills and is_running(run, self.kills[0].after):
            kill = self.kills[0]
            if kill.what == "run":
                os.killpg(run.pid, signal.SIGKILL)
            elif kill.what != "driver":
                self.machines.kill(kill)
            elif not kill_driver(run.pid):
                continue  # it is not there yet
            self.kills.popleft()
            self.figures.update([f"kills: {kill.what}"])
            if kill.what in ("run", "head"):
                return kill.what == "run"
        return False

    def end(self) -> None:
        """Kill what is still running."""
        for pid in find_processes(self.sessions):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_running(run: subprocess.Popen[str], seconds: float) -> bool:
    """Wait, and return whether the run goes on."""
    end = time.monotonic() + seconds
    while run.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    return run.poll() is None


def kill_driver(run: int) -> bool:
    """Kill the driver of a run; return whether there is one."""
    drivers = find_drivers(run)
    for driver in drivers:
        with suppress(ProcessLookupError):
            os.kill(driver, signal.SIGKILL)
    return bool(drivers)


def judge(store: PurePath, rehearsal: Rehearsal) -> Counter[str]:
    """Return the counts of rows; raises if anything differs from an undisturbed run."""
    mine, undisturbed = read_results(store), read_results(rehearsal.undisturbed)
    tables = (pq.read_table(io.BytesIO(mine[RESULTS[at]])) for at in (0, 3))
    predicted, rejected = (table["row"].to_pylist() for table in tables)
    found = Counter(predicted + rejected)
    require(sorted(found.elements()) == list(range(ROWS)), "rows lost or doubled:", found)
    changed = [name for name in RESULTS if mine[name] != undisturbed[name]]
    require(not changed, "changed:", changed)
    checked = verify_run(find_results("latest", Store(store)))
    require(all(one.state == "ok" for one in checked), "not verified:", checked)
    return Counter(
        {"rows in": ROWS, "rows predicted": len(predicted), "rows rejected": len(rejected)}
    )


def read_results(store: PurePath) -> dict[str, bytes]:
    """Return the content of the result files of the latest run, by their names."""
    folder = find_results("latest", Store(store))
    return {name: storage_of(folder).read(folder / name) for name in RESULTS}


def soak(seed: str, kills: int, minutes: float, machines: Machines, rehearsal: Rehearsal) -> bool:
    """Play episodes until there are enough kills; return whether no guarantee was violated."""
    figures: Counter[str] = Counter()
    end, started = time.monotonic() + minutes * 60, time.monotonic()
    for number in count(1):
        episode = Episode.draw(f"{seed}-{number}", machines.server is not None)
        folder = rehearsal.undisturbed.parent / episode.seed
        play = Play(episode, machines, rehearsal, folder)
        try:
            figures.update(play.play())
        except Exception:
            tell(f"BROKEN: {episode}\n{traceback.format_exc()}kept: {folder}")
            return False
        finally:
            play.end()
        shutil.rmtree(folder, ignore_errors=True)
        done = sum(times for name, times in figures.items() if name.startswith("kills: "))
        tell(f"{episode} | {done} kills in {time.monotonic() - started:.0f} s: {dict(figures)}")
        if done >= kills or time.monotonic() > end:
            return True
    raise AssertionError("unreachable")


def main() -> int:
    """Run the soak and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", default=str(secrets.randbelow(10**6)))
    options = parser.parse_args()
    tell(f"seed {options.seed}")
    os.environ.update(CREDENTIALS)
    folder = Path(tempfile.mkdtemp(prefix="wenti-soak-"))
    (folder / "faults.json").write_text(FAULTS)
    faults = {FAULTS_VARIABLE: str(folder / "faults.json")}
    with ExitStack() as stack:
        quick = rehearse(folder / "job", ROWS, stack.enter_context(serving()))
        environment = {**quick.environment, **faults, "PREFECT_LOGGING_TO_API_ENABLED": "false"}
        rehearsal = replace(quick, environment=environment, is_warm=True)
        server = None
        if VARIABLE in os.environ:
            server = stack.enter_context(s3_server("seaweedfs", folder / "s3"))
        machines = Machines(stack.enter_context(ray_cluster(**faults)), server)
        is_whole = soak(options.seed, options.kills, options.minutes, machines, rehearsal)
    if is_whole:
        shutil.rmtree(folder)
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
