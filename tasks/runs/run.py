"""A run and its folder, from its start to its end."""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import PurePath
from typing import Any, Literal

import yaml

from tasks.config.paths import with_absolute_paths
from tasks.plan.plan import Plan
from tasks.runs.find import store_of
from tasks.runs.journal import JOURNAL_FILE, Journal
from tasks.runs.links import correct_latest, point_latest, point_newest
from tasks.runs.record import RunRecord, StageStart
from tasks.runs.results import CONFIG_FILE, METRICS_FILE, PARTS_FOLDER, RUN_FILE, SUCCESS_FILE
from tasks.runs.state import is_suspect
from tasks.store.claims import Claims
from tasks.store.files import commit_bytes, describe_file, storage_of
from tasks.store.manifest import PARTS_MANIFEST, Manifest, describe_table
from tasks.store.storage import FileEntry

_End = Literal["completed", "failed", "interrupted"]


def new_run_id(now: datetime) -> str:
    """Return a unique id for a run that starts at `now` in UTC; ids sort by the start."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass
class Run:
    """A run: its folder, the content of its run.json, its claims and its journal.

    When `is_complete` is set, `_SUCCESS` lists the files of the run; from then on, none may change.
    """

    folder: PurePath
    record: RunRecord
    claims: Claims
    journal: Journal = field(init=False)
    is_complete: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder / JOURNAL_FILE)

    @classmethod
    def start(
        cls,
        plan: Plan,
        *,
        flow_run_id: str | None = None,
        config_file: str | None = None,
        rerun_of: str | None = None,
    ) -> Run:
        """Create the folder with run.json and config.yaml, and point `newest` to it.

        Args:
            plan: what the run is to make.
            flow_run_id: Prefect's id of the run.
            config_file: absolute path of the run's config.
            rerun_of: id of the run that this one repeats.

        Raises:
            StorageError: the store cannot be written.
        """
        now = datetime.now(UTC)
        run_id = new_run_id(now)
        asked = {"flow_run_id": flow_run_id, "config_file": config_file}
        if rerun_of is not None:
            asked["rerun_of"] = rerun_of
        record = _first_record(plan, run_id, now).model_copy(update=asked)
        claims = Claims(plan.store.claims_folder, run_id)
        run = cls(plan.store.run_folder(run_id), record, claims)
        run._save()
        settings = with_absolute_paths(plan.settings).as_dict()
        config = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
        commit_bytes(run.folder / CONFIG_FILE, config.encode())
        point_newest(plan.store, run_id)
        correct_latest(plan.store)
        return run

    def note_stage(self, name: str, began: float, is_reused: bool | None = None) -> None:
        """Record when a stage started, in `time.monotonic`; written when the run ends."""
        stage = StageStart(started=self.journal.since_start(began))
        if is_reused is not None:
            stage = stage.model_copy(update={"reused": is_reused})
        self._change({"stages": {**self.record.stages, name: stage}})

    def fail(self, error: str, metrics: Mapping[str, Any] | None = None) -> None:
        """Record in run.json that the run failed, and why.

        A run that fails because it is suspect has `metrics`, for metrics.json, and all results.

        Raises:
            StorageError: the store cannot be written.
        """
        if metrics is not None:
            commit_json(self.folder / METRICS_FILE, metrics)
        suspect = {} if metrics is None else _mark_suspect(metrics)
        self._end("failed", {"error": error, **suspect})

    def interrupt(self, error: str) -> None:
        """Record in run.json that the run was stopped from outside, and how.

        Raises:
            StorageError: the store cannot be written.
        """
        self._end("interrupted", {"error": error})

    def succeed(self, metrics: Mapping[str, Any]) -> None:
        """Write metrics.json, run.json, then `_SUCCESS`, which lists the run's files.

        The run is then complete, and `latest` is pointed to it.

        Raises:
            StorageError: the store cannot be written.
        """
        marks = ("partial", "rows_missing") if metrics["partial"] else ()
        partial = {name: metrics[name] for name in marks}
        commit_json(self.folder / METRICS_FILE, metrics)
        self._end("completed", {**partial, **_mark_suspect(metrics)})
        files = [one.model_dump() for one in list_files(self.folder)]
        run_id = self.record.run_id
        commit_json(self.folder / SUCCESS_FILE, {"run_id": run_id, **partial, "files": files})
        self.is_complete = True
        point_latest(store_of(self.folder), run_id)

    def _end(self, state: _End, changes: Mapping[str, object]) -> None:
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        self._change({"state": state, "ended": ended, **changes})
        self._save()

    def _change(self, changes: Mapping[str, object]) -> None:
        self.record = self.record.model_copy(update=changes)

    def _save(self) -> None:
        commit_json(self.folder / RUN_FILE, self.record.as_dict())


def list_files(folder: PurePath) -> Iterator[FileEntry]:
    """Yield the files of a run, and of a table in parts the manifest and what that says of them."""
    storage = storage_of(folder)
    for place in storage.list_folder(folder):
        if place.name == PARTS_FOLDER:
            manifest = Manifest.from_bytes(storage.read(place / PARTS_MANIFEST))
            for entry in (*manifest.files, describe_table(place)):
                yield entry.model_copy(update={"name": f"{place.name}/{entry.name}"})
        elif not place.name.startswith((".", "_")):
            yield describe_file(place)


def _mark_suspect(metrics: Mapping[str, Any]) -> dict[str, bool]:
    return {"suspect": True} if is_suspect(metrics) else {}


def _first_record(plan: Plan, run_id: str, now: datetime) -> RunRecord:
    return RunRecord(
        run_id=run_id,
        state="running",
        started=now.isoformat(timespec="seconds"),
        process=os.getpid(),
        config=plan.settings.as_dict(),
        export=plan.export.fingerprint,
        dataset=plan.dataset.fingerprint,
        predictions=plan.predictions.fingerprint,
        **({} if plan.columns is None else {"columns": plan.columns.fingerprint}),
        rows_per_shard=plan.settings.shards.rows_per_shard,
        model_folder=str(plan.model_folder.absolute()),
        decided_by=plan.decided_by,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("wenti", "tokenizers")},
        },
    )


def commit_json(path: PurePath, value: Mapping[str, Any]) -> None:
    """Commit an indented JSON file.

    Raises:
        StorageError: it cannot be written.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2)
    # File names that are not UTF-8 put lone surrogates into errors; escaped, they are valid JSON.
    commit_bytes(path, text.encode(errors="backslashreplace") + b"\n")
