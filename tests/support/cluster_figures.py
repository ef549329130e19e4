"""Figures of a Ray cluster on this machine, with an engine that sleeps instead of computing.

    python -m tests.support.cluster_figures [--times 3] [--only places|shards|kills]

`places`: how many shards a second two places on two nodes make, one place, and two local workers;
`shards`: what many small shards cost the run's process, and its driver; `kills`: how much of its
shard is made again after a node is killed. A head, two nodes and a Prefect server are started.
Every result is compared with that of an undisturbed local run.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from tasks.engine.fake import FAULTS_VARIABLE
from tests.support.ray_cluster import VARIABLES, RayCluster, find_drivers, ray_cluster
from tests.support.rehearsal import ROOT, Rehearsal, outside_environment
from tests.support.soak import require, serving, tell

TRAIN = ROOT / "data/passages/train.jsonl"
KILLS = 3
EVENTS = "runs/newest/shards.jsonl"


@dataclass(frozen=True)
class Job:
    """So many shards, each of some batches that take some seconds."""

    shards: int
    batches: int
    batch_rows: int
    seconds: float
    commit_seconds: float = 60.0

    @property
    def overrides(self) -> list[str]:
        """The settings that make it."""
        return [
            f"shards.rows_per_shard={self.batches * self.batch_rows}",
            f"shards.commit_seconds={self.commit_seconds}",
            f"predict.batch_size={self.batch_rows}",
        ]


PLACES = Job(shards=16, batches=6, batch_rows=8, seconds=0.5)
SHARDS = Job(shards=600, batches=1, batch_rows=4, seconds=0.0)
LONG = Job(shards=8, batches=40, batch_rows=2, seconds=0.5, commit_seconds=5.0)


class Sample(NamedTuple):
    """A moment of a run: shards made, CPU seconds of its process and of its driver so far."""

    at: float
    made: int
    run: float
    driver: float


@dataclass
class Record:
    """What was seen of a run; `began` is when its journal did, by the clock of this process."""

    samples: list[Sample] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    began: float = float("inf")
    drivers: list[int] = field(default_factory=list)

    @property
    def made(self) -> list[Mapping[str, Any]]:
        """The events of shards that were made."""
        return [event for event in self.events if event["event"] == "made"]

    def look(self, run: int, store: Path) -> None:
        """Add what is there now."""
        now, lines = time.monotonic(), ""
        with suppress(OSError):
            lines = (store / EVENTS).read_text(encoding="utf-8")
        self.events = [json.loads(line) for line in lines.splitlines() if line.endswith("}")]
        if self.events:
            self.began = min(self.began, now - self.events[-1]["at"])
        self.drivers = self.drivers or find_drivers(run)
        with suppress(psutil.NoSuchProcess):
            cpu = cpu_seconds(run), sum(map(cpu_seconds, self.drivers))
            self.samples.append(Sample(now, len(self.made), *cpu))

    def rate(self, places: int) -> float:
        """Return the shards a second after the first of each of the equal places."""
        ends = sorted(event["at"] for event in self.made)
        each = (ends[place::places] for place in range(places))
        return float(sum((len(one) - 1) / (one[-1] - one[0]) for one in each))

    def of_a_shard(self) -> Sample:
        """Return what a shard takes on average, after the first tenth of them."""
        last = self.samples[-1].made
        first = next(one for one in self.samples if one.made >= last / 10)
        end = next(one for one in self.samples if one.made == last)
        count = end.made - first.made
        differences = [(b - a) / count for a, b in zip(first, end, strict=True)]
        return Sample(differences[0], count, differences[2], differences[3])


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of all threads of a process."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


class Laboratory:
    """Runs jobs, each in a store that has the export and the dataset."""

    def __init__(self, cluster: RayCluster, url: str, folder: Path) -> None:
        self.cluster, self._folder = cluster, folder
        self._environment = outside_environment(url, folder / "prefect")
        self._rehearsals: dict[Job, Rehearsal] = {}

    @property
    def faults(self) -> Path:
        """The file that says how long a batch takes."""
        return self._folder / "faults.json"

    @property
    def store(self) -> Path:
        """The store of the run that is watched."""
        return self._folder / "store"

    def rehearse(self, job: Job) -> Rehearsal:
        """Return the job, run once on this machine without sleeping."""
        if job not in self._rehearsals:
            folder = self._folder / f"{len(self._rehearsals)}"
            folder.mkdir()
            write_passages(folder / "passages.jsonl", job.shards * job.batches * job.batch_rows)
            rehearsal = Rehearsal(
                folder / "passages.jsonl", self._environment, folder / "store", is_warm=True
            )
            code, said = rehearsal.run(rehearsal.undisturbed, *job.overrides)
            require(code == 0, said)
            self._rehearsals[job] = rehearsal
        return self._rehearsals[job]

    def watch(self, job: Job, *given: str) -> Iterator[Record]:
        """Run a job; yield its record while it is running, and check its results."""
        rehearsal = self.rehearse(job)
        self.faults.write_text(json.dumps({"seconds_per_batch": job.seconds}))
        store = rehearsal.store_without_shards(self.store)
        variables = {**VARIABLES, FAULTS_VARIABLE: str(self.faults)}
        run = rehearsal.start(store, *job.overrides, *given, **variables)
        record = Record()
        with ThreadPoolExecutor(1) as threads:
            saying = threads.submit(run.communicate)
            while not saying.done():
                record.look(run.pid, store)
                yield record
                time.sleep(0.2)
        require(run.returncode == 0, saying.result()[1])
        rehearsal.check(store)
        shutil.rmtree(store)

    def run(self, job: Job, *given: str) -> Record:
        """Run a job to the end."""
        *_, record = self.watch(job, *given)
        return record

    def on_ray(self, places: int) -> list[str]:
        """Return the settings of a run on the cluster."""
        where = f"cluster.address={self.cluster.address}"
        return ["predict.executor=ray", where, f"cluster.places={places}"]


def write_passages(path: Path, rows: int) -> None:
    """Write passages of the sample data, without references."""
    lines = TRAIN.read_text(encoding="utf-8").splitlines()[:rows]
    require(len(lines) == rows, "there are only", len(lines), "passages")
    records = [json.loads(line) for line in lines]
    for record in records:
        del record["question"]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def compare_places(lab: Laboratory, times: int) -> None:
    """Tell how many shards a second are made, in runs that take turns."""
    kinds = {
        "two places": (2, lab.on_ray(2)),
        "one place": (1, lab.on_ray(1)),
        "two local workers": (2, ["predict.devices=[cpu, cpu]"]),
    }
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(times):
        for kind, (places, settings) in kinds.items():
            rates[kind].append(lab.run(PLACES, *settings).rate(places))
            tell(f"{kind}: {rates[kind][-1]:.4f} shards/s")
    two, one, local = (median(rates[kind]) for kind in kinds)
    tell(f"medians: two places {two / one:.3f} of one, {two / local:.3f} of two local workers")


def count_driver(lab: Laboratory, times: int) -> None:
    """Tell the CPU time of a small shard in the run's process and in the driver."""
    kinds = {"two places": lab.on_ray(2), "two local workers": ["predict.devices=[cpu, cpu]"]}
    shards: dict[str, list[Sample]] = {kind: [] for kind in kinds}
    for _ in range(times):
        for kind, settings in kinds.items():
            shards[kind].append(lab.run(SHARDS, *settings).of_a_shard())
            tell(f"{kind}: {describe(shards[kind][-1])}")
    for kind, all_of_them in shards.items():
        middle = Sample(*(median(each) for each in zip(*all_of_them, strict=True)))
        tell(f"{kind}, medians: {describe(middle)}")


def describe(shard: Sample) -> str:
    """Return the figures of a shard in words."""
    milliseconds = (1000 * value for value in (shard.at, shard.run, shard.driver))
    return "a shard {:.1f} ms, of CPU: run {:.2f} ms, driver {:.2f} ms".format(*milliseconds)


class Loss(NamedTuple):
    """A place that was killed: seconds into its shard, and the age of each shard's last piece."""

    place: str
    worked: float
    ages: Mapping[int, float]


def lose_nodes(lab: Laboratory, seed: int) -> None:
    """Kill nodes in the middle of a shard; tell how much of it is lost."""
    rng = random.Random(seed)  # noqa: S311 not for secrets
    nodes, losses, record = ["a", "b"], list[Loss](), Record()
    after = rng.uniform(0.3, 0.9)
    for record in lab.watch(LONG, *lab.on_ray(2)):
        ends = {str(one["device"]): float(one["at"]) for one in record.made}
        began, now = ends.get(f"{nodes[0]} cpu"), time.monotonic() - record.began
        if len(losses) < KILLS and began and now - began > after * LONG.batches * LONG.seconds:
            lab.cluster.kill(nodes[0])
            losses.append(Loss(f"{nodes.pop(0)} cpu", now - began, ages_of_pieces(lab.store)))
            nodes.append(f"c{len(losses)}")
            lab.cluster.start(nodes[-1])
            after = rng.uniform(0.3, 0.9)
    for loss in losses:
        tell(describe_loss(record, loss))


def ages_of_pieces(store: Path) -> dict[int, float]:
    """Return the seconds since the last piece of each open shard was committed."""
    times: dict[int, float] = {}
    for path in store.glob("predictions/*/piece-*.json"):
        shard = int(path.name.split("-")[1])
        times[shard] = max(times.get(shard, 0.0), path.stat().st_mtime)
    return {shard: time.time() - at for shard, at in times.items()}


def describe_loss(record: Record, loss: Loss) -> str:
    """Return what became of the shard at which a place was at work when it was killed."""
    failed = next(
        one for one in record.events if one["event"] == "failed" and one["device"] == loss.place
    )
    made = next(one for one in record.made if one["shard"] == failed["shard"])
    lost = loss.ages.get(failed["shard"], loss.worked)
    return (
        f"{loss.place} killed {loss.worked:.1f} s into a shard, {lost:.1f} s of which were in no "
        f"piece; {made['device']} took {made['seconds']:.1f} s for the rest of "
        f"{LONG.batches * LONG.seconds:g} s"
    )


def main() -> int:
    """Measure, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["places", "shards", "kills"])
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="wenti-figures-"))
    faults = {FAULTS_VARIABLE: str(folder / "faults.json")}
    with serving() as url, ray_cluster(**faults) as cluster:
        cluster.have("a", "b")
        lab = Laboratory(cluster, url, folder)
        if options.only in (None, "places"):
            compare_places(lab, options.times)
        if options.only in (None, "shards"):
            count_driver(lab, options.times)
        if options.only in (None, "kills"):
            lose_nodes(lab, options.seed)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
