"""A run's own folder: what it was asked, how it went, and where the newest one is."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tasks.errors import InputError
from tasks.plan import Plan
from tasks.store import Store, commit_bytes, describe_file

RUN_FILE = "run.json"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
SUCCESS_FILE = "_SUCCESS"
LATEST = "latest"


def new_run_id(now: datetime) -> str:
    """Give a name for a run that sorts by its start in UTC and that no other run has."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass
class Run:
    """A run's folder and what goes into its run.json."""

    folder: Path
    record: dict[str, Any]

    @classmethod
    def start(cls, plan: Plan) -> Run:
        """Make the folder, note what was asked, and point `latest` at it.

        Raises:
            StorageError: the store cannot be written.
        """
        now = datetime.now(UTC)
        run_id = new_run_id(now)
        run = cls(
            plan.store.run_folder(run_id),
            {
                "run_id": run_id,
                "state": "running",
                "started": now.isoformat(timespec="seconds"),
                "process": os.getpid(),
                "config": plan.settings.as_dict(),
                "export": plan.export.fingerprint,
                "dataset": plan.dataset.fingerprint,
                "predictions": plan.predictions.fingerprint,
                "rows_per_shard": plan.settings.shards.rows_per_shard,
            },
        )
        run.save()
        config = yaml.safe_dump(plan.settings.as_dict(), allow_unicode=True, sort_keys=False)
        commit_bytes(run.folder / CONFIG_FILE, config.encode())
        point_latest(plan.store, run_id)
        return run

    def save(self, **changes: object) -> None:
        """Write run.json with `changes`."""
        self.record |= changes
        commit_json(self.folder / RUN_FILE, self.record)

    def end(self, state: str, **changes: object) -> None:
        """Write how the run ended."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.save(state=state, ended=now, **changes)

    def succeed(self, metrics: Mapping[str, Any]) -> None:
        """Write the metrics, the end, and last of all the mark that names every file of the run."""
        commit_json(self.folder / METRICS_FILE, metrics)
        self.end("completed")
        results = sorted(self.folder.glob("[!._]*"))
        files = [describe_file(path).model_dump() for path in results]
        commit_json(self.folder / SUCCESS_FILE, {"run_id": self.record["run_id"], "files": files})


def commit_json(path: Path, value: Mapping[str, Any]) -> None:
    """Commit a JSON file for people and scripts to read."""
    commit_bytes(path, json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n")


def point_latest(store: Store, run_id: str) -> None:
    """Make `runs/latest` a link to a run, without a moment in which there is no link."""
    link = store.run_folder(LATEST)
    temporary = link.with_name(f".{LATEST}-{run_id}")
    temporary.symlink_to(run_id)
    temporary.replace(link)


def find_results(name: str, store: Store) -> Path:
    """Give the folder of a run that has its results; `name` as in `find_run`.

    Raises:
        InputError: there is no such run, or it did not succeed.
    """
    folder = find_run(name, store)
    if not (folder / SUCCESS_FILE).is_file():
        record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        why = f": {record['error']}" if "error" in record else ""
        raise InputError(f"run {folder.name} has no results, it is {record['state']}{why}")
    return folder


def find_run(name: str, store: Store) -> Path:
    """Give the folder of a run: a folder itself, a run id, or `latest`.

    Raises:
        InputError: there is no such run.
    """
    for folder in (store.run_folder(name), Path(name)):
        if (folder / RUN_FILE).is_file():
            return folder.resolve()
    known = sorted(path.parent.name for path in store.root.glob(f"runs/2*/{RUN_FILE}"))
    hint = f"newest: {known[-1]}" if known else f"{store.root} holds no runs; --store names another"
    raise InputError(f"there is no run {name!r} in {store.root}; {hint}")
