"""Reading back everything that a run consists of, and naming what is missing or damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import StoreCorruptionError
from tasks.runs import RUN_FILE, SUCCESS_FILE
from tasks.shards import plan_shards
from tasks.store import MANIFEST, FileEntry, Store, find_checkpoint, verify_files


@dataclass(frozen=True)
class Checked:
    """A part of a run: `ok`, `missing`, or `damaged` with what is wrong."""

    part: str
    path: str
    state: str
    problem: str | None = None


def verify_run(folder: Path, store: Store) -> list[Checked]:
    """Read every checkpoint and every result of a run back, in the order they were made.

    Sizes, sha256 and fingerprints of all files are compared with what was committed.
    """
    record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    export = store.export_folder(record["export"]) / MANIFEST
    dataset = store.dataset_folder(record["dataset"]) / MANIFEST
    return [
        _check("export", export, record["export"]),
        _check("dataset", dataset, record["dataset"]),
        *_check_shards(record, store, dataset),
        _check_results(folder),
    ]


def _check(part: str, manifest: Path, fingerprint: str) -> Checked:
    found = find_checkpoint(manifest, fingerprint)
    if found.manifest is not None:
        return Checked(part, str(manifest), "ok")
    state = "damaged" if found.damage else "missing"
    return Checked(part, str(manifest), state, found.damage)


def _check_shards(record: dict[str, str], store: Store, dataset: Path) -> Iterator[Checked]:
    """Check the planned shards; without the dataset nobody knows how many there are."""
    found = find_checkpoint(dataset, record["dataset"]).manifest
    if found is None:
        return
    folder, fingerprint = store.predictions_folder(record["predictions"]), record["predictions"]
    for shard in plan_shards(found.details["rows"], int(record["rows_per_shard"])):
        yield _check(f"shard {shard.index}", folder / shard.manifest_name, fingerprint)


def _check_results(folder: Path) -> Checked:
    path = folder / SUCCESS_FILE
    try:
        marked = json.loads(path.read_bytes())
        verify_files(folder, [FileEntry.model_validate(entry) for entry in marked["files"]])
    except FileNotFoundError:
        return Checked("results", str(path), "missing")
    except (StoreCorruptionError, ValueError, KeyError) as error:
        return Checked("results", str(path), "damaged", str(error))
    return Checked("results", str(path), "ok")
