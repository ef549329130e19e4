"""Reading back everything that a run consists of, and naming what is missing or damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import StoreCorruptionError
from tasks.runs import RUN_FILE, SUCCESS_FILE
from tasks.shards import plan_shards
from tasks.store import (
    MANIFEST,
    FileEntry,
    Found,
    Manifest,
    Store,
    find_checkpoint,
    verify_files,
)


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
    found = find_checkpoint(dataset, record["dataset"])
    return [
        _describe("export", export, find_checkpoint(export, record["export"])),
        _describe("dataset", dataset, found),
        *_check_shards(record, store, found.manifest),
        _check_results(folder),
    ]


def _describe(part: str, manifest: Path, found: Found) -> Checked:
    state = "ok" if found.manifest is not None else found.state
    return Checked(part, str(manifest), state, found.damage)


def _check_shards(
    record: dict[str, str], store: Store, dataset: Manifest | None
) -> Iterator[Checked]:
    """Check the planned shards; without the dataset nobody knows how many there are."""
    if dataset is None:
        return
    folder, fingerprint = store.predictions_folder(record["predictions"]), record["predictions"]
    for shard in plan_shards(dataset.details["rows"], int(record["rows_per_shard"])):
        manifest = folder / shard.manifest_name
        found = find_checkpoint(manifest, fingerprint)
        yield _describe(f"shard {shard.index}", manifest, found)


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
