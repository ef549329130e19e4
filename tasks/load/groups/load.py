"""Loading on all cores: large inputs of several files in groups, others in one pass.

What is made does not depend on the number of processes. A group that is loaded survives if the rest
is killed: the next run finds it by its manifest, `group-*.json`, in the folder of the dataset.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import accumulate, zip_longest

from tasks.columns.keeper import ColumnsKeeper
from tasks.errors import InputError
from tasks.findings import Finding
from tasks.load.dataset import (
    LoadRequest,
    check_rows,
    keep_columns,
    load_columns,
    load_passages,
)
from tasks.load.groups.assembly import assemble, check_some_accepted, remove_groups
from tasks.load.groups.division import Group, find_groups
from tasks.load.groups.nodes import Nodes
from tasks.load.groups.processes import GroupProcesses
from tasks.load.groups.work import Count, Counted, Load, changed
from tasks.load.helpers import MOST_HELPERS, count_helpers
from tasks.load.parts import Tell
from tasks.parallel.helpers import count_cores
from tasks.passages.files import find_files, hash_files
from tasks.plan.plan import PlannedCheckpoint
from tasks.store.files import staging_folder
from tasks.store.layout import Store
from tasks.store.lock import shared_lock
from tasks.store.manifest import Manifest

logger = logging.getLogger("wenti.load")


def load_into(
    store: Store, request: LoadRequest, nodes: Nodes | None, tell: Tell | None = None
) -> Manifest:
    """Call `load_files` while holding the store's shared lock.

    If the run is killed, its child process can live on; gc must not remove what that commits.
    """
    with shared_lock(store):
        return load_files(request, count_cores(), nodes, tell)


def load_columns_into(
    store: Store, request: LoadRequest, planned: PlannedCheckpoint, rows: int
) -> Manifest:
    """Call `load_columns_of_files` while holding the store's shared lock."""
    with shared_lock(store):
        return load_columns_of_files(request, planned, rows, count_cores())


def load_files(
    request: LoadRequest, cores: int, nodes: Nodes | None = None, tell: Tell | None = None
) -> Manifest:
    """Make the dataset checkpoint as `load_passages` does, in groups if the input has several.

    The rows, the rejects and what the manifest says of them are those of one pass; a part of the
    rows never has those of two groups. Columns to keep are kept, too, unless there are too many.

    Args:
        request: what to load, tokenize and commit.
        cores: of this machine, to be used.
        nodes: that load groups, too; None: none do.
        tell: as of `load_passages`; not called for groups.

    Raises:
        InputError: as `load_passages`, and nothing is left behind.
        ModelError: the model folder has no usable vocabulary, or it has changed.
        StorageError: the store cannot be written.
        WorkerError: a process died.
    """
    groups = find_groups(request)
    if not groups:
        return load_passages(request, count_helpers(), tell)
    with keep_columns(request) as keeper, staging_folder(request.folder):
        counted, loaded = _load_groups(request, groups, cores, nodes, keeper)
        if keeper is not None and _join(keeper, counted):
            keeper.commit()
        return assemble(request, loaded)


def _load_groups(
    request: LoadRequest,
    groups: Sequence[Group],
    cores: int,
    nodes: Nodes | None,
    keeper: ColumnsKeeper | None,
) -> tuple[list[Counted], list[Manifest]]:
    """Return what is counted of each group, and its manifest; raise as `load_files`."""
    try:
        with _start_processes(request, groups, cores) as processes:
            counted, fault = _count(processes, groups, keeper)
            loads = _plan_loads(groups, counted, fault)
            helping = (
                nullcontext() if nodes is None else nodes.helping(processes, request, len(loads))
            )
            with helping:
                loaded: list[Manifest] = [*processes.do(loads)]
        if fault is not None:
            raise fault
        check_some_accepted(request, loaded)
        _check_unchanged(request, groups)
    except InputError:
        remove_groups(request.folder)  # the processes have ended
        raise
    return counted, loaded


def load_columns_of_files(
    request: LoadRequest, planned: PlannedCheckpoint, rows: int, cores: int
) -> Manifest:
    """Make the checkpoint of kept columns as `load_columns` does, in groups as `load_files`."""
    groups = find_groups(request)
    if not groups:
        return load_columns(request, planned, rows)
    with (
        ColumnsKeeper(planned, request.keep_columns) as keeper,
        _start_processes(request, groups, cores) as processes,
    ):
        counted, fault = _count(processes, groups, keeper, checks=True)
        if fault is not None:
            raise fault
        _check_unchanged(request, groups)
        check_rows(request, rows, sum(one.rows for one in counted))
        if _join(keeper, counted):
            return keeper.commit()
    return load_columns(request, planned, rows)


def _start_processes(request: LoadRequest, groups: Sequence[Group], cores: int) -> GroupProcesses:
    count = min(cores, len(groups))
    helpers = min(cores // count - 1, MOST_HELPERS)
    logger.info("loading %d groups of files in %d processes", len(groups), count * (helpers + 1))
    return GroupProcesses(request, count, helpers)


def _count(
    processes: GroupProcesses,
    groups: Sequence[Group],
    keeper: ColumnsKeeper | None,
    *,
    checks: bool = False,
) -> tuple[list[Counted], InputError | None]:
    """Return what is counted of the groups before the first that cannot be read, and why not."""
    counted = list[Counted]()
    folders = [None if keeper is None else keeper.staging / f"{one.number:05d}" for one in groups]
    jobs = [Count(group, folder, checks) for group, folder in zip(groups, folders, strict=True)]
    try:
        for one in processes.do(jobs):
            counted.append(one)
    except InputError as error:
        return counted, error
    return counted, None


def _plan_loads(
    groups: Sequence[Group], counted: Sequence[Counted], fault: InputError | None
) -> list[Load]:
    """Return the loads of the groups that are counted, and of the one that cannot be read.

    A fault of the rows before that place comes first, as in one pass.
    """
    counts = [one.rows for one in counted]
    firsts = accumulate(counts, initial=0)
    loads = zip_longest(groups[: len(counts) + (fault is not None)], counts)
    return [Load(group, first, rows) for (group, rows), first in zip(loads, firsts, strict=False)]


def _join(keeper: ColumnsKeeper, counted: Sequence[Counted]) -> bool:
    """Join the kept columns; return false if a group has too many to tell which ones are kept."""
    written = [one.columns for one in counted if one.columns is not None]
    if any(one.left_out for one in written):
        return False
    for one in written:
        keeper.join(one)
    return True


def _check_unchanged(request: LoadRequest, groups: Sequence[Group]) -> None:
    """Check that there are the same files as before, and those without rows still have none.

    Raises:
        InputError: they changed; the others were compared when they were read.
    """
    known, given = request.input_sha256, request.predict_file
    if not isinstance(known, Mapping) or given is None:
        return
    files = find_files(given)
    if isinstance(files, Finding):
        raise InputError(str(files))
    read = {file.name for group in groups for file, _ in group.files}
    others = [file for file in files if file.name not in read]
    found = hash_files(others) if others else {}
    if len(files) != len(known) or found != {name: known.get(name) for name in found}:
        raise changed(request)
