"""A run's own folder: what it was asked, how it went, and where the newest one is."""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml

from tasks.claims import Claims
from tasks.config import load_settings
from tasks.errors import InputError, StoreCorruptionError, storage_faults
from tasks.journal import JOURNAL_FILE, Journal
from tasks.paths import with_absolute_paths
from tasks.plan import Plan
from tasks.settings import Settings
from tasks.store import Store, commit_bytes, describe_file

RUN_FILE = "run.json"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
SUCCESS_FILE = "_SUCCESS"
LATEST = "latest"


def new_run_id(now: datetime) -> str:
    """Give a name for a run that sorts by its start in UTC and that no other run has."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass
class Run:
    """A run's folder, what goes into its run.json, its journal, and what it is making now."""

    folder: Path
    record: dict[str, Any]
    claims: Claims
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder / JOURNAL_FILE)

    @classmethod
    def start(cls, plan: Plan, **asked: object) -> Run:
        """Make the folder, note what was `asked`, and point `latest` at it.

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
                "model_folder": str(plan.model_folder.absolute()),
                "decided_by": plan.decided_by,
                "versions": {
                    "python": platform.python_version(),
                    **{name: version(name) for name in ("wenti", "tokenizers")},
                },
                **asked,
            },
            Claims(plan.store.claims_folder),
        )
        run.save()
        settings = with_absolute_paths(plan.settings).as_dict()
        config = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
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
        marks = ("partial", "rows_missing") if metrics["partial"] else ()
        partial = {name: metrics[name] for name in marks}
        commit_json(self.folder / METRICS_FILE, metrics)
        self.end("completed", **partial)
        results = sorted(self.folder.glob("[!._]*"))
        files = [describe_file(path).model_dump() for path in results]
        run_id = self.record["run_id"]
        commit_json(self.folder / SUCCESS_FILE, {"run_id": run_id, **partial, "files": files})


def commit_json(path: Path, value: Mapping[str, Any]) -> None:
    """Commit a JSON file for people and scripts to read."""
    commit_bytes(path, json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n")


def point_latest(store: Store, run_id: str) -> None:
    """Make `runs/latest` a link to a run, without a moment in which there is no link.

    Raises:
        StorageError: the store cannot be written.
    """
    link = store.run_folder(LATEST)
    temporary = link.with_name(f".{LATEST}-{run_id}")
    with storage_faults(link, "store.path"):
        temporary.symlink_to(run_id)
        try:
            temporary.replace(link)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise


def read_records(store: Store) -> Iterator[dict[str, Any]]:
    """Give the run.json of every run of a store, oldest first; an unreadable one is left out."""
    for path in sorted(store.root.glob(f"runs/2*/{RUN_FILE}")):
        with suppress(StoreCorruptionError):
            yield read_record(path.parent)


def read_record(folder: Path) -> dict[str, Any]:
    """Give a run's run.json.

    Raises:
        StoreCorruptionError: it cannot be read.
    """
    path = folder / RUN_FILE
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        remedy = "start a new run with `wenti run` of its config"
        raise StoreCorruptionError(f"{path} is damaged ({error}); {remedy}") from error


def store_of(folder: Path) -> Store:
    """Give the store that a run's folder is in."""
    return Store(folder.parent.parent)


def settings_of_run(folder: Path, overrides: Sequence[str] = ()) -> Settings:
    """Give the settings that a run has kept, with the store where it is now, if it was moved.

    Raises:
        ConfigError: the config that the run has kept cannot be used any more.
    """
    settings = load_settings(folder / CONFIG_FILE, overrides)
    root = str(store_of(folder).root)
    return settings.model_copy(update={"store": settings.store.model_copy(update={"path": root})})


def find_results(name: str, store: Store) -> Path:
    """Give the folder of a run that has its results; `name` as in `find_run`.

    Raises:
        InputError: there is no such run, or it did not succeed.
    """
    folder = find_run(name, store)
    if not (folder / SUCCESS_FILE).is_file():
        record = read_record(folder)
        why = f": {record['error']}" if "error" in record else ""
        raise InputError(f"run {folder.name} has no results, it is {record['state']}{why}")
    return folder


def find_run(name: str, store: Store) -> Path:
    """Give the folder of a run: a folder itself, a run id, also Prefect's, or `latest`.

    Prefect keeps the id of a run that it retries, and each try is a run here; the newest is given.

    Raises:
        InputError: there is no such run.
    """
    for folder in (store.run_folder(name), Path(name), *_tries_of(name, store)):
        if (folder / RUN_FILE).is_file():
            return folder.resolve()
    known = sorted(path.parent.name for path in store.root.glob(f"runs/2*/{RUN_FILE}"))
    hint = f"newest: {known[-1]}" if known else f"{store.root} holds no runs; --store names another"
    raise InputError(f"there is no run {name!r} in {store.root}; {hint}")


def _tries_of(flow_run_id: str, store: Store) -> Iterator[Path]:
    """Give the folders of the runs that have this id in Prefect, the newest first."""
    with suppress(ValueError):
        wanted = str(UUID(flow_run_id))
        for record in reversed(list(read_records(store))):
            if record.get("flow_run_id") == wanted:
                yield store.run_folder(record["run_id"])
