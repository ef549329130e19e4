"""A run's own folder: what it was asked, how it went, and where the newest one is."""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import PurePath
from typing import Any

import yaml

from tasks.config.paths import with_absolute_paths
from tasks.plan.plan import Plan
from tasks.runs.journal import JOURNAL_FILE, Journal
from tasks.runs.results import CONFIG_FILE, LATEST, METRICS_FILE, RUN_FILE, SUCCESS_FILE
from tasks.store.claims import Claims
from tasks.store.files import commit_bytes, describe_file, storage_of
from tasks.store.layout import Store


def new_run_id(now: datetime) -> str:
    """Give a name for a run that sorts by its start in UTC and that no other run has."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass
class Run:
    """A run's folder, what goes into its run.json, its journal, and what it is making now."""

    folder: PurePath
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
        entries = storage_of(self.folder).list_folder(self.folder)
        results = [place for place in entries if not place.name.startswith((".", "_"))]
        files = [describe_file(place).model_dump() for place in results]
        run_id = self.record["run_id"]
        commit_json(self.folder / SUCCESS_FILE, {"run_id": run_id, **partial, "files": files})


def commit_json(path: PurePath, value: Mapping[str, Any]) -> None:
    """Commit a JSON file for people and scripts to read."""
    commit_bytes(path, json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n")


def point_latest(store: Store, run_id: str) -> None:
    """Make `runs/latest` a link to a run, without a moment in which there is no link.

    Raises:
        StorageError: the store cannot be written.
    """
    link = store.run_folder(LATEST)
    storage_of(link).point(link, run_id)
