"""Reading back everything that belongs to a run, and reporting what is missing or damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

from tasks.errors import StoreCorruptionError
from tasks.load.part_reader import read_dataset_parts
from tasks.operations.checkpoints import Checkpoints
from tasks.predict.shards import Shard, find_shards, read_shard
from tasks.report.write import ensure_report
from tasks.runs.find import read_record
from tasks.runs.results import SUCCESS_FILE
from tasks.store.files import commit_file, storage_of
from tasks.store.layout import Store
from tasks.store.manifest import MANIFEST, Found, Manifest, find_checkpoint, verify_files
from tasks.store.storage import FileEntry


@dataclass(frozen=True)
class Checked:
    """The state of a part of a run: `ok`, `missing`, or `damaged` with the problem."""

    part: str
    path: str
    state: str
    problem: str | None = None


def verify_run(folder: PurePath) -> list[Checked]:
    """Read back every checkpoint and every result of a run, in the order they were made.

    Sizes and sha256 of all files and all fingerprints are compared with what was committed, and the
    rows of every shard with those of the dataset.

    Raises:
        StoreCorruptionError: the run.json cannot be read, or is too old to tell the shards.
    """
    checkpoints = Checkpoints.of_run(folder)
    dataset = checkpoints.find_dataset()
    return [
        _describe("export", checkpoints.export_manifest, checkpoints.find_export()),
        _describe("dataset", checkpoints.dataset_manifest, dataset),
        *_check_columns(folder, checkpoints.store),
        *_check_shards(checkpoints, dataset.manifest),
        _check_results(folder),
    ]


def _describe(part: str, manifest: PurePath, found: Found) -> Checked:
    state = "ok" if found.manifest is not None else found.state
    return Checked(part, str(manifest), state, found.damage)


def _check_columns(folder: PurePath, store: Store) -> Iterator[Checked]:
    """Check the kept columns of the input, if the run has any."""
    fingerprint = read_record(folder).columns
    if fingerprint is not None:
        manifest = store.columns_folder(fingerprint) / MANIFEST
        yield _describe("columns", manifest, find_checkpoint(manifest, fingerprint))


def _check_shards(checkpoints: Checkpoints, dataset: Manifest | None) -> Iterator[Checked]:
    """Check the planned shards; none without the dataset, which decides how many there are."""
    if dataset is None:
        return
    folder = checkpoints.shards_folder
    shards = checkpoints.plan_shards(dataset)
    every = find_shards(folder, shards, checkpoints.predictions)
    for shard, found in zip(shards, every, strict=True):
        checked = _check_rows(folder, found, checkpoints.store, dataset, shard)
        yield _describe(f"shard {shard.index}", folder / shard.manifest_name, checked)


def _check_rows(
    folder: PurePath, found: Found, store: Store, dataset: Manifest, shard: Shard
) -> Found:
    """Read the rows of a shard that is there; check page checksums, their number, and their ids."""
    if found.manifest is None:
        return found
    try:
        of_dataset = store.dataset_folder(dataset.fingerprint)
        parts = read_dataset_parts(of_dataset, dataset, shard.start, shard.stop, ("row", "id"))
        for _rows in read_shard(folder, found.manifest, parts):
            pass  # each part is compared when it is taken
    except StoreCorruptionError as error:
        return Found(None, str(error))
    return found


def restore_results(folder: PurePath, fresh: PurePath) -> None:
    """Replace damaged results of a run with those of its rerun, where these are the same files.

    run.json and metrics.json contain times, so a rerun cannot restore them; they are left as they
    are. The report is remade from the run's own results.

    Args:
        folder: the damaged run.
        fresh: its rerun.

    Raises:
        StorageError: the store cannot be written.
    """
    try:
        marked = _marked_files(folder)
    except (FileNotFoundError, StoreCorruptionError):
        return  # it never had results, or it is no longer known what they were
    entries = {entry.name: entry for entry in _marked_files(fresh)}
    for entry in marked:
        if not _is_whole(folder, entry) and entries.get(entry.name) == entry:
            commit_file(
                folder / entry.name,
                partial(shutil.copyfile, storage_of(fresh).fetch(fresh / entry.name)),
            )
    with suppress(StoreCorruptionError):  # a report needs undamaged results
        ensure_report(folder)


def _is_whole(folder: PurePath, entry: FileEntry) -> bool:
    try:
        verify_files(folder, [entry])
    except StoreCorruptionError:
        return False
    return True


def _marked_files(folder: PurePath) -> list[FileEntry]:
    path = folder / SUCCESS_FILE
    try:
        marked = json.loads(storage_of(path).read(path))
        return [FileEntry.model_validate(entry) for entry in marked["files"]]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise StoreCorruptionError(f"{path} does not list a run's files: {error}") from error


def _check_results(folder: PurePath) -> Checked:
    path = folder / SUCCESS_FILE
    try:
        verify_files(folder, _marked_files(folder))
    except FileNotFoundError:
        return Checked("results", str(path), "missing")
    except StoreCorruptionError as error:
        return Checked("results", str(path), "damaged", str(error))
    return Checked("results", str(path), "ok")
