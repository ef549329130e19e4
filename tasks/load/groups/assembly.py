"""One dataset from the groups of its files: its manifest says what that of one pass says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import PurePath
from typing import Any

from tasks.errors import StoreCorruptionError
from tasks.load.dataset import LoadRequest
from tasks.load.parts import MULTILINE_SHOWN, REJECTS_FILE, DatasetDetails
from tasks.load.rules import no_usable_row
from tasks.passages.reader import no_rows
from tasks.store.files import storage_of
from tasks.store.manifest import MANIFEST, Manifest, commit_manifest, find_checkpoint
from tasks.store.tables import commit_table, iterate_rows, read_batches

_OF_GROUPS = re.compile(
    r"group-\d{5}(\.json)?|(rejects-\d{5}|part-\d{5}-\d{5})\.parquet|\.(group|rejects)-\d{5}\..+\.tmp"
)


def assemble(request: LoadRequest, groups: Sequence[Manifest]) -> Manifest:
    """Commit the dataset whose groups are there, in order, and remove what is no part of it.

    Raises:
        StorageError: the store cannot be written.
        StoreCorruptionError: a file of a group is damaged.
    """
    details = merge_details([*map(DatasetDetails.of, groups)])
    rejects = [request.folder / group.files[-1].name for group in groups if _has_rejects(group)]
    try:
        batches = chain.from_iterable(map(read_batches, rejects))
        entry = commit_table(request.folder / REJECTS_FILE, details.rejects_schema, batches)
    except StoreCorruptionError:  # they are gone if another process was faster
        found = find_checkpoint(request.folder / MANIFEST, request.fingerprint)
        if found.manifest is None:
            raise
        return found.manifest
    manifest = Manifest(
        kind="dataset",
        fingerprint=request.fingerprint,
        decided_by=dict(request.decided_by),
        files=(*(file for group in groups for file in group.files[:-1]), entry),
        details=details.as_dict(),
    )
    commit_manifest(request.folder / MANIFEST, manifest)
    _remove_files(request.folder, {file.name for file in manifest.files})
    return manifest


def check_some_accepted(request: LoadRequest, groups: Sequence[Manifest]) -> None:
    """Check that the groups have a usable row.

    Raises:
        InputError: they have none.
    """
    every = [*map(DatasetDetails.of, groups)]
    if any(details.rows for details in every) or request.predict_file is None:
        return
    reasons, examples = Counter[str](), dict[str, Mapping[str, Any]]()
    for group in filter(_has_rejects, groups):
        for reject in iterate_rows(request.folder / group.files[-1].name):
            reasons[reject["reason"]] += 1
            examples.setdefault(reject["reason"], reject)
    raise no_usable_row(reasons, examples) if reasons else no_rows(request.predict_file)


def remove_groups(folder: PurePath) -> None:
    """Remove the files of groups, also of processes that were stopped, unless there is a dataset.

    Raises:
        StorageError: the store cannot be written.
    """
    if not storage_of(folder).is_file(folder / MANIFEST):
        _remove_files(folder, ())


def _remove_files(folder: PurePath, kept: Collection[str]) -> None:
    storage = storage_of(folder)
    for place in storage.list_folder(folder):
        if _OF_GROUPS.fullmatch(place.name) and place.name not in kept:
            storage.delete(place)


def merge_details(groups: Sequence[DatasetDetails]) -> DatasetDetails:
    """Return what is said of all rows of consecutive groups, each with all details."""
    places = [place for one in groups for place in one.multiline_at or []]
    file_rows = [pair for one in groups for pair in one.file_rows or []]
    return DatasetDetails(
        rows_in=sum(one.rows_in for one in groups),
        rows=sum(one.rows for one in groups),
        rejects=sum(one.rejects for one in groups),
        tokens=sum(one.tokens for one in groups),
        longest=max(one.longest for one in groups),
        part_rows=[rows for one in groups for rows in one.part_rows],
        reject_reasons=_add(one.reject_reasons for one in groups),
        cut=_add(one.cut or {} for one in groups),
        unknown_tokens=sum(one.unknown_tokens or 0 for one in groups),
        unknown_rows=sum(one.unknown_rows or 0 for one in groups),
        multiline_rows=sum(one.multiline_rows or 0 for one in groups),
        multiline_at=places[:MULTILINE_SHOWN],
        file_rows=file_rows,
    )


def _add(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = sum(map(Counter, counts), Counter[str]())
    return dict(sorted(total.items()))


def _has_rejects(group: Manifest) -> bool:
    return DatasetDetails.of(group).rejects > 0
