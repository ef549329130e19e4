"""What a restart of `wenti serve` does to the schedules of a deployment.

What has changed in prefect.yaml since the last start is changed in Prefect; everything else stays
as it is there: what was paused, edited, deleted or added in the UI. For this, `wenti serve`
remembers what the file said (`memory.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flows.deployments.entries import ScheduleEntry

PAUSED = {True: "active", False: "paused"}


@dataclass(frozen=True)
class Applied:
    """A schedule of the file at the last start.

    Attributes:
        id: of the schedule in Prefect.
        when: `str` of the schedule.
        digest: that of all its keys but `active`.
        active: what the file said.
    """

    id: str
    when: str
    digest: str
    active: bool

    @classmethod
    def of(cls, schedule_id: str, entry: ScheduleEntry) -> Applied:
        """Return what is remembered of a schedule of the file."""
        return cls(schedule_id, str(entry), entry.digest, entry.active)


@dataclass(frozen=True)
class Present:
    """A schedule that a deployment has in Prefect: when it is due, and whether it is active."""

    when: str
    active: bool


@dataclass(frozen=True)
class Step:
    """What to do with one schedule.

    Attributes:
        verb: `create` it; `update` its keys, and `active` if that is not None; `delete` it; or
            `keep` it as it is.
        entry: the schedule of the file; None for one that the file does not have.
        id: of the schedule in Prefect; None if it is to be created.
        active: what to set; None leaves it.
        message: what to tell the operator; empty if the file and Prefect agree.
    """

    verb: Literal["create", "update", "delete", "keep"]
    entry: ScheduleEntry | None = None
    id: str | None = None
    active: bool | None = None
    message: str = ""


def plan_steps(
    entries: Sequence[ScheduleEntry], applied: Sequence[Applied], present: Mapping[str, Present]
) -> list[Step]:
    """Return what to do with each schedule of the file and of Prefect.

    Args:
        entries: the schedules in the file.
        applied: those in the file at the last start; empty at the first one.
        present: those in Prefect, by id.
    """
    pairs, gone = _pair(entries, applied)
    unknown = {key: row for key, row in present.items() if key not in {one.id for one in applied}}
    steps = [
        _step(entry, before, present) if before else _new_step(entry, unknown)
        for entry, before in pairs
    ]
    for one in gone:
        if one.id in present:
            message = f"schedule {one.when} is no longer in the file: deleted"
            steps.append(Step("delete", id=one.id, message=message))
    for key, row in unknown.items():
        message = f"schedule {row.when}, {PAUSED[row.active]}, is not in the file: kept"
        steps.append(Step("keep", id=key, message=message))
    return steps


_KEYS: tuple[Callable[[Applied], object], ...] = (
    lambda one: one.digest,
    lambda one: one.when,
    lambda _one: None,
)


def _pair(
    entries: Sequence[ScheduleEntry], applied: Sequence[Applied]
) -> tuple[list[tuple[ScheduleEntry, Applied | None]], list[Applied]]:
    """Match the schedules of the file with those of the last start: the same, then the next one.

    Returns:
        The schedules of the file with their former selves, and those that the file has no more.
    """
    left = list(applied)
    found: dict[int, Applied] = {}
    for key in _KEYS:
        for place, entry in enumerate(entries):
            same = (one for one in left if key(one) == key(Applied.of("", entry)))
            before = None if place in found else next(same, None)
            if before is not None:
                found[place] = before
                left.remove(before)
    return [(entry, found.get(place)) for place, entry in enumerate(entries)], left


def _new_step(entry: ScheduleEntry, unknown: dict[str, Present]) -> Step:
    """Return the step of a schedule without a former self: Prefect may have it already.

    One that is taken is removed from `unknown`.
    """
    for key, row in unknown.items():
        if row.when == str(entry):
            del unknown[key]
            return Step("update", entry, key, message=_difference(entry, row))
    return Step("create", entry, message=f"schedule {entry}, {PAUSED[entry.active]}: added")


def _step(entry: ScheduleEntry, before: Applied, present: Mapping[str, Present]) -> Step:
    row, now = present.get(before.id), Applied.of(before.id, entry)
    if row is None and now == before:
        message = f"schedule {entry} was deleted in Prefect: not added again"
        return Step("keep", entry, before.id, message=message)
    if row is None:
        return Step("create", entry, message=f"schedule {entry}, {PAUSED[entry.active]}: added")
    active = entry.active if entry.active != before.active else None
    if now == before:
        return Step("keep", entry, before.id, message=_difference(entry, row))
    parts = [] if active is None else [f"is now {PAUSED[active]}"]
    if now.when != before.when:
        parts.insert(0, f"is now {now.when}")
    elif now.digest != before.digest:
        parts.insert(0, "has other parameters, or another slug or start")
    if active is None and row.active != entry.active:
        parts.append(f"stays {PAUSED[row.active]}, as in Prefect")
    return Step("update", entry, before.id, active, f"schedule {before.when} {', '.join(parts)}")


def _difference(entry: ScheduleEntry, row: Present) -> str:
    """Return what an operator has changed in Prefect; empty if nothing."""
    parts = [] if row.when == str(entry) else [f"is {row.when}"]
    if row.active != entry.active:
        parts.append(f"is {PAUSED[row.active]}")
    return f"schedule {entry} {' and '.join(parts)} in Prefect: kept so" if parts else ""
