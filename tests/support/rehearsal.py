"""A small job with the fake engine, run as a user runs it, and the oracle for its results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import pyarrow.parquet as pq

from tasks.operations.verify import verify_run
from tasks.runs.find import find_results
from tasks.store.layout import Store
from tests.support.warm import WarmProcess

ROOT = Path(__file__).parents[2]
SHARDS = 5
ROWS_PER_SHARD = 6
RESULTS = (
    "predictions.parquet",
    "predictions.jsonl",
    "predictions.txt",
    "rejects.parquet",
    "quality.parquet",
)
WENTI = Path(sys.executable).with_name("wenti")


def write_passages(path: Path, rows: int) -> None:
    """Write passages without references (metrics need PaddleNLP); every tenth line is unusable."""
    source = ROOT / "data/passages/heldout.jsonl"
    lines = source.read_text(encoding="utf-8").splitlines()[:rows]
    records = [json.loads(line) for line in lines]
    for number, record in enumerate(records):
        del record["question"]
        if number % 10 == 9:
            del record["answer"]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@dataclass(frozen=True)
class Rehearsal:
    """The passages, the environment of the runs, and the store of an undisturbed run.

    `program` is how `wenti` is started. With `is_warm`, runs start from a process that has imported
    everything (`warm.py`).
    """

    passages: Path
    environment: Mapping[str, str]
    undisturbed: Path
    is_warm: bool = False
    program: tuple[str, ...] = (str(WENTI),)

    def command(self, store: PurePath, *overrides: str) -> list[str]:
        settings = {
            "store.path": store,
            "export.engine": "fake",
            "model.model_name_or_path": ROOT / "data/checkpoint",
            "dataset.predict_file": self.passages,
            "shards.rows_per_shard": ROWS_PER_SHARD,
            "shards.commit_seconds": 0,  # a piece for every batch
            "predict.batch_size": 2,
        }
        options = [f"{key}={value}" for key, value in settings.items()]
        pairs = [("--set", option) for option in (*options, *overrides)]
        return [
            *self.program,
            "run",
            str(ROOT / "configs/demo.yaml"),
            *(x for p in pairs for x in p),
        ]

    def start(self, store: PurePath, *overrides: str, **variables: str) -> subprocess.Popen[str]:
        """Start a run in its own process group."""
        return self._start(self.command(store, *overrides), subprocess.DEVNULL, variables)

    def _start(
        self,
        command: list[str],
        output: int,
        variables: Mapping[str, str],
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        popen = WarmProcess if self.is_warm else subprocess.Popen
        return popen(
            command,
            cwd=cwd,
            env={**self.environment, **variables},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wenti(
        self, *arguments: object, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run another command to the end."""
        command = [str(WENTI), *map(str, arguments)]
        with self._start(command, subprocess.PIPE, variables, cwd) as process:
            said = process.communicate(timeout=600)
        return subprocess.CompletedProcess(command, process.returncode, *said)

    def run(self, store: PurePath, *overrides: str, **variables: str) -> tuple[int, str]:
        """Run to the end; return the exit code and standard error."""
        with self.start(store, *overrides, **variables) as process:
            messages = process.communicate(timeout=600)[1]
        return process.returncode, messages

    def store_without_shards(self, folder: Path) -> Path:
        """Copy the undisturbed store without its shards and runs; return the copy."""
        shutil.copytree(self.undisturbed, folder, symlinks=True)
        for name in ("predictions", "runs"):
            shutil.rmtree(folder / name)
        return folder

    def check(self, store: Path, run: str = "latest") -> None:
        """The oracle: no row lost or repeated, bytes as in the undisturbed run, all verified."""
        folder = find_results(run, Store(store))
        undisturbed = find_results("latest", Store(self.undisturbed))
        rows = [
            pq.read_table(folder / name)["row"].to_pylist() for name in (RESULTS[0], RESULTS[3])
        ]
        lines = self.passages.read_text(encoding="utf-8").splitlines()
        assert sorted(rows[0] + rows[1]) == list(range(len(lines)))
        for name in RESULTS:
            assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
        wrong = [part for part in verify_run(folder) if part.state != "ok"]
        assert wrong == []


def made_by(store: Path, run_ids: Sequence[str]) -> list[int]:
    """Return how many shards each run made."""
    metrics = (store / "runs" / run_id / "metrics.json" for run_id in run_ids)
    return [json.loads(path.read_bytes())["shards_made"] for path in metrics]


def outside_environment(server_url: str, home: Path) -> dict[str, str]:
    """Return the environment of a user's program that uses this Prefect server."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**mine, "PREFECT_API_URL": server_url, "PREFECT_HOME": str(home)}


def block(rehearsal: Rehearsal, store: Path, *shards: int) -> list[Path]:
    """Make folders with the names of shards, so that each rename to one of them fails."""
    fingerprint = next(rehearsal.undisturbed.glob("predictions/*")).name
    names = [f"shard-{shard:05d}-of-{SHARDS:05d}.parquet" for shard in shards]
    folders = [store / "predictions" / fingerprint / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders
