"""A store with runs and checkpoints identified by small numbers, and functions to inspect it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from tasks.operations.gc import find_garbage, remove
from tasks.predict.shards import plan_shards
from tasks.runs.links import point_latest
from tasks.runs.results import RUN_FILE, SUCCESS_FILE
from tasks.runs.run import commit_json, new_run_id
from tasks.store.files import adopt_file, commit_bytes, staging_folder
from tasks.store.layout import Store
from tasks.store.manifest import (
    MANIFEST,
    Found,
    Manifest,
    commit_manifest,
    find_checkpoint,
    fingerprint,
)
from tasks.store.storage import FileEntry
from tests.support.run_records import least_record

Tree = dict[str, bytes | str]
KINDS = ("export", "dataset", "predictions", "model")
FILES = {
    "export": ("unimo_text.pdmodel", "contract.json"),
    "dataset": ("part-00000-of-00001.parquet", "rejects.parquet"),
    "model": ("model_state.pdparams", "config.json"),
}
JUNK = (".x.json.123-0a1b2c3d.tmp", ".staging-abcd1234/part.parquet", "orphan.parquet")


@dataclass
class Shelf:
    """A store written with the store's own functions; small numbers identify checkpoints."""

    store: Store
    runs: list[Path] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def digest(self, kind: str, number: int) -> str:
        return fingerprint({"stage": kind, "number": number})

    def folder(self, kind: str, number: int) -> Path:
        folder_of: Callable[[str], Path] = getattr(self.store, f"{kind}_folder")
        return folder_of(self.digest(kind, number))

    def make(self, kind: str, number: int) -> Path:
        """Make a checkpoint unless it exists; both arguments determine the content of its files."""
        folder = self.folder(kind, number)
        content = f"{kind} {number}".encode()
        if folder.exists():
            return folder
        if kind == "predictions":
            for shard in plan_shards(20, 10):
                entry = commit_bytes(folder / shard.file_name, content + bytes([shard.index]))
                self._commit_manifest(folder / shard.manifest_name, kind, number, entry)
            self._commit_manifest(folder / "evaluation.json", kind, number)
            return folder
        with staging_folder(folder) as staging:
            for name in FILES[kind]:
                (staging / name).write_bytes(content)
            entries = [adopt_file(staging / name, folder / name) for name in FILES[kind]]
            self._commit_manifest(folder / MANIFEST, kind, number, *entries)
        return folder

    def _commit_manifest(self, path: Path, kind: str, number: int, *files: FileEntry) -> None:
        decided_by = {"stage": kind, "number": number}
        digest = self.digest(kind, number)
        commit_manifest(
            path, Manifest(kind=kind, fingerprint=digest, decided_by=decided_by, files=files)
        )

    def find(self, kind: str, number: int) -> list[Found]:
        """Look up all manifests of a checkpoint and verify their files."""
        folder, digest = self.folder(kind, number), self.digest(kind, number)
        names = [MANIFEST]
        if kind == "predictions":
            names = ["evaluation.json", *(shard.manifest_name for shard in plan_shards(20, 10))]
        return [find_checkpoint(folder / name, digest) for name in names]

    def run(
        self,
        *numbers: int,
        model: str | None = None,
        config: str | None = None,
        is_complete: bool = True,
        limit: int | None = None,
        **recorded: object,
    ) -> Path:
        """Make a run with the export, dataset, predictions and perhaps model of these numbers.

        `recorded` are other keys of its run.json.
        """
        started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=next(self.numbers))
        run = self.store.run_folder(new_run_id(started))
        asked = {"dataset": {"limit": limit}}
        record = least_record(run.name, config_file=config, config=asked, **recorded)
        for kind, number in zip(KINDS[:3], numbers[:3], strict=True):
            record[kind] = self.make(kind, number).name
        if len(numbers) > 3:
            record["model_folder"] = str(self.make("model", numbers[3]).absolute())
        elif model is not None:
            record["model_folder"] = model
        commit_json(run / RUN_FILE, record)
        commit_bytes(run / "predictions.txt", run.name.encode())
        if is_complete:
            commit_json(run / SUCCESS_FILE, {"run_id": run.name, "files": []})
            point_latest(self.store, run.name)
        self.runs.append(run)
        return run

    def gc(self, keep_runs: int | None = None) -> None:
        remove(find_garbage(self.store, keep_runs))

    def found(self) -> dict[str, str]:
        """Return the garbage of the store: relative paths, and why they are garbage."""
        root = self.store.root
        return {str(one.path.relative_to(root)): one.why for one in find_garbage(self.store)}


def read_tree(root: Path) -> Tree:
    """Return files, folders (with a slash at the end) and links below `root`, following no link."""
    tree: Tree = {}
    for folder, folders, files in os.walk(root):
        for path in (Path(folder) / name for name in (*folders, *files)):
            name = str(path.relative_to(root))
            if path.is_symlink():
                tree[name] = str(path.readlink())
            elif path.is_dir():
                tree[f"{name}/"] = ""
            else:
                tree[name] = path.read_bytes()
    return tree


def below(tree: Tree, root: Path, *folders: Path) -> Tree:
    prefixes = tuple(f"{folder.relative_to(root)}/" for folder in folders)
    return {name: content for name, content in tree.items() if name.startswith(prefixes)}


def litter(folder: Path) -> None:
    for name in JUNK:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"junk")
