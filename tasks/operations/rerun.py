"""Reruns: the same run again, making what is missing, chosen shards, or everything."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePath

from tasks.config.settings import Settings
from tasks.errors import InputError
from tasks.operations.checkpoints import Checkpoints
from tasks.plan.changes import find_changes
from tasks.plan.plan import Plan
from tasks.predict.jobs import Selection
from tasks.runs.find import find_run, get_state, is_complete, read_record, settings_of_run
from tasks.runs.journal import JOURNAL_FILE, read_journal
from tasks.runs.record import RunRecord
from tasks.store.layout import LATEST, NEWEST, Store

logger = logging.getLogger("wenti.rerun")

_RANGE = r"\d{1,6}(-\d{1,6})?"


@dataclass(frozen=True)
class Rerun:
    """What to remake: the folder, the settings and the record of a run, and which of its shards."""

    folder: PurePath
    settings: Settings
    record: RunRecord
    selection: Selection

    def check(self, plan: Plan) -> None:
        """Check that `plan` is the plan of that run.

        Raises:
            InputError: model, passages, settings or versions have changed; says which.
        """
        now = {"export": plan.export, "dataset": plan.dataset, "predictions": plan.predictions}
        if self.record.fingerprints == {name: one.fingerprint for name, one in now.items()}:
            return
        before, nowhere = self.record.decided_by or {}, dict.fromkeys(now, False)
        changes = find_changes(before, plan.decided_by, nowhere)
        lines = "".join(f"\n  - {change}" for change in changes)
        raise InputError(
            f"run {self.record.run_id} cannot be remade, because its inputs have changed; start a "
            f"new run with `wenti run`:{lines}"
        )


def plan_rerun(
    run_name: str,
    store: Store,
    shards: Collection[int] | None = None,
    only_failed: bool = False,
    is_forced: bool = False,
    config: Path | None = None,
) -> Rerun:
    """Find a run and return what to remake.

    Args:
        run_name: as in `tasks.runs.find.find_run`, like `config`.
        store: the store to search.
        shards: shard numbers; None: every missing shard.
        only_failed: only the shards whose last attempt in that run failed.
        is_forced: remake them even if the store has them.
        config: `latest` and `newest` are runs of this config file; None: of any.

    Raises:
        InputError: there is no such run or shard, `only_failed` is set and no shard failed, or both
            `shards` and `only_failed` are given.
        ConfigError: the run's config is no longer valid.
        StoreCorruptionError: the run's run.json cannot be read.
    """
    if shards is not None and only_failed:
        raise InputError("choose shards by number or those that failed, not both")
    folder = find_run(run_name, store, config)
    if run_name == LATEST:
        _warn_of_newer(folder, find_run(NEWEST, store, config))
    if only_failed:
        histories = read_journal(folder / JOURNAL_FILE)
        shards = [shard for shard, one in histories.items() if one.state == "failed"]
        if not shards:
            remedy = "leave out --failed to make everything that is missing"
            raise InputError(f"no shard failed in run {folder.name}; {remedy}")
    selection = Selection(None if shards is None else frozenset(shards), is_forced)
    record = read_record(folder)
    count = Checkpoints.of_run(folder, record).count_shards()
    if count is not None:  # otherwise, the run finds out
        selection.check_numbers(count)
    return Rerun(folder, settings_of_run(folder), record, selection)


def _warn_of_newer(latest: PurePath, newest: PurePath) -> None:
    """Warn that `latest` is not the newest run, which somebody may want to continue."""
    if newest.name > latest.name and not is_complete(newest):
        logger.warning(
            "latest is %s, which is complete; the newest run, %s, %s; `newest` continues that",
            latest.name,
            newest.name,
            get_state(newest).outcome,
        )


def parse_shards(text: str | None) -> list[int] | None:
    """Parse a list of shard numbers such as `3,7` or `3-7,9`; return None for None.

    Raises:
        InputError: the text is not such a list.
    """
    if text is None:
        return None
    if not re.fullmatch(rf"{_RANGE}(,{_RANGE})*", text):
        raise InputError(
            f"{text!r} is not a list of shards; write numbers and ranges, such as 3,7-9"
        )
    ends = [[int(number) for number in part.split("-")] for part in text.split(",")]
    for end in ends:
        if end[-1] < end[0]:
            raise InputError(f"{end[0]}-{end[-1]} is no range of shards; write {end[-1]}-{end[0]}")
    return [shard for end in ends for shard in range(end[0], end[-1] + 1)]
