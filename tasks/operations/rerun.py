"""Reruns: the same run again, as far as it is missing, or some of its shards, or all anew."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from tasks.config.settings import Settings
from tasks.errors import InputError
from tasks.plan.changes import find_changes
from tasks.plan.plan import Plan
from tasks.predict.jobs import Selection
from tasks.runs.find import find_run, read_record, settings_of_run
from tasks.runs.journal import JOURNAL_FILE, read_journal
from tasks.runs.record import RunRecord
from tasks.store.layout import Store


@dataclass(frozen=True)
class Rerun:
    """What is to be made again: a run's settings and record, and which of its shards."""

    settings: Settings
    record: RunRecord
    selection: Selection

    def check(self, plan: Plan) -> None:
        """Check that `plan` is the plan of that run.

        Raises:
            InputError: model, passages, settings or versions changed; says which.
        """
        now = {"export": plan.export, "dataset": plan.dataset, "predictions": plan.predictions}
        if self.record.fingerprints == {name: one.fingerprint for name, one in now.items()}:
            return
        before, nowhere = self.record.decided_by or {}, dict.fromkeys(now, False)
        changes = find_changes(before, plan.decided_by, nowhere)
        lines = "".join(f"\n  - {change}" for change in changes)
        raise InputError(
            f"run {self.record.run_id} cannot be made again, what it was made from has changed; "
            f"start a new one with `wenti run`:{lines}"
        )


def plan_rerun(
    run_name: str,
    store: Store,
    shards: Collection[int] | None = None,
    only_failed: bool = False,
    is_forced: bool = False,
) -> Rerun:
    """Look a run up and say what of it is to be made again.

    Args:
        run_name: as in `tasks.runs.find.find_run`.
        store: where the run is looked for.
        shards: numbers of shards; None: every one that is missing.
        only_failed: those whose last attempt in that run failed.
        is_forced: make them anew even if the store has them.

    Raises:
        InputError: there is no such run, or both `shards` and `only_failed` are given.
        ConfigError: the config that the run has kept cannot be used any more.
    """
    if shards is not None and only_failed:
        raise InputError("choose shards by number or those that failed, not both")
    folder = find_run(run_name, store)
    if only_failed:
        histories = read_journal(folder / JOURNAL_FILE)
        shards = [shard for shard, one in histories.items() if one.state == "failed"]
        if not shards:
            remedy = "without --failed, all that is missing is made"
            raise InputError(f"no shard failed in run {folder.name}; {remedy}")
    chosen = None if shards is None else frozenset(shards)
    return Rerun(settings_of_run(folder), read_record(folder), Selection(chosen, is_forced))


def parse_shards(text: str | None) -> list[int] | None:
    """Read `3,7` or `3-7,9` as shard numbers; None stays None.

    Raises:
        InputError: it is no such list.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise InputError(f"{text!r} names no shards; write numbers and ranges, such as 3,7-9")
    ends = [part.split("-") for part in text.split(",")]
    return [shard for end in ends for shard in range(int(end[0]), int(end[-1]) + 1)]
