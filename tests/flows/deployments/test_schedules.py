"""What a restart does to schedules, as a pure function: the file, Prefect and the last start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.deployments.entries import ScheduleEntry
from flows.deployments.schedules import Applied, Present, Step, plan_steps

CRONS = ("0 1 * * *", "0 2 * * *", "0 3 * * *")


def entry(cron: str = CRONS[0], **keys: Any) -> ScheduleEntry:  # noqa: ANN401 of any key
    return ScheduleEntry(cron=cron, **keys)


@dataclass
class Deployment:
    """A deployment in Prefect, and what `wenti serve` remembers of it."""

    rows: dict[str, Present] = field(default_factory=dict)
    applied: list[Applied] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=count)

    def start(self, *entries: ScheduleEntry) -> list[Step]:
        """Do what `wenti serve` does with a file that has these schedules."""
        steps = plan_steps(entries, self.applied, self.rows)
        self.applied = []
        for step in steps:
            key = step.id or str(next(self.ids))
            if step.verb == "delete":
                del self.rows[key]
            elif step.entry is not None:
                self._take(key, step, step.entry)
                self.applied.append(Applied.of(key, step.entry))
        return steps

    def _take(self, key: str, step: Step, entry: ScheduleEntry) -> None:
        if step.verb == "create":
            self.rows[key] = Present(str(entry), entry.active)
        elif step.verb == "update":
            active = self.rows[key].active if step.active is None else step.active
            self.rows[key] = Present(str(entry), active)

    def change(self, when: str, active: bool, new: str | None = None) -> None:
        """Do what an operator does in the UI with the schedule of this time."""
        (key,) = [key for key, row in self.rows.items() if row.when == when]
        self.rows[key] = Present(new or when, active)

    def add(self, cron: str) -> None:
        self.rows[f"ui-{next(self.ids)}"] = Present(str(entry(cron)), active=True)

    @property
    def seen(self) -> set[tuple[str, bool]]:
        return {(row.when.removesuffix(" (UTC)"), row.active) for row in self.rows.values()}


def said(steps: Sequence[Step]) -> list[str]:
    return [step.message for step in steps if step.message]


def test_a_schedule_that_was_paused_stays_paused_and_this_is_said() -> None:
    deployment = Deployment()
    deployment.start(entry())
    deployment.change("0 1 * * * (UTC)", active=False)
    assert said(deployment.start(entry())) == [
        "schedule 0 1 * * * (UTC) is paused in Prefect: kept so"
    ]
    assert deployment.seen == {("0 1 * * *", False)}
    assert said(deployment.start(entry("0 2 * * *"))) == [
        "schedule 0 1 * * * (UTC) is now 0 2 * * * (UTC), stays paused, as in Prefect"
    ]
    assert deployment.seen == {("0 2 * * *", False)}


def test_a_schedule_that_the_file_switches_on_or_off_is_switched() -> None:
    deployment = Deployment()
    deployment.start(entry(active=False))
    assert deployment.seen == {("0 1 * * *", False)}
    (message,) = said(deployment.start(entry(active=True)))
    assert message == "schedule 0 1 * * * (UTC) is now active"
    assert deployment.seen == {("0 1 * * *", True)}
    deployment.start(entry("0 2 * * *", active=False))
    assert deployment.seen == {("0 2 * * *", False)}


def test_one_that_was_switched_on_in_prefect_stays_on_though_the_file_says_otherwise() -> None:
    deployment = Deployment()
    deployment.start(entry(active=False))
    deployment.change("0 1 * * * (UTC)", active=True)
    assert said(deployment.start(entry(active=False))) == [
        "schedule 0 1 * * * (UTC) is active in Prefect: kept so"
    ]
    assert deployment.seen == {("0 1 * * *", True)}


def test_schedules_that_were_added_in_prefect_are_kept() -> None:
    deployment = Deployment()
    deployment.start()
    deployment.add("0 3 * * *")
    expected = "schedule 0 3 * * * (UTC), active, is not in the file: kept"
    for _restart in range(2):
        assert said(deployment.start()) == [expected]
    assert deployment.seen == {("0 3 * * *", True)}


def test_a_schedule_that_was_edited_in_prefect_is_kept_until_the_file_changes() -> None:
    deployment = Deployment()
    deployment.start(entry())
    deployment.change("0 1 * * * (UTC)", active=True, new="0 2 * * * (UTC)")
    assert said(deployment.start(entry())) == [
        "schedule 0 1 * * * (UTC) is 0 2 * * * (UTC) in Prefect: kept so"
    ]
    deployment.start(entry("0 3 * * *"))
    assert deployment.seen == {("0 3 * * *", True)}


def test_a_schedule_that_was_deleted_in_prefect_comes_back_only_when_the_file_changes() -> None:
    deployment = Deployment()
    deployment.start(entry())
    deployment.rows.clear()
    for _restart in range(2):
        assert said(deployment.start(entry())) == [
            "schedule 0 1 * * * (UTC) was deleted in Prefect: not added again"
        ]
        assert not deployment.rows
    deployment.start(entry("0 2 * * *"))
    assert deployment.seen == {("0 2 * * *", True)}


def test_schedules_that_the_file_has_no_more_are_deleted() -> None:
    deployment = Deployment()
    deployment.start(entry("0 1 * * *"), entry("0 2 * * *"))
    deployment.change("0 2 * * * (UTC)", active=False)
    steps = deployment.start(entry("0 2 * * *"))
    assert said(steps)[-1] == "schedule 0 1 * * * (UTC) is no longer in the file: deleted"
    assert deployment.seen == {("0 2 * * *", False)}


def test_a_schedule_of_an_older_version_is_taken_over_as_it_is() -> None:
    deployment = Deployment({"old": Present("0 1 * * * (UTC)", active=False)})
    deployment.start(entry())
    assert deployment.rows == {"old": Present("0 1 * * * (UTC)", active=False)}
    deployment.start(entry("0 2 * * *"))
    assert set(deployment.rows) == {"old"}


@pytest.mark.parametrize("keys", [{"parameters": {"day": "x"}}, {"slug": "other"}])
def test_other_changes_of_a_schedule_are_made_and_keep_its_id(keys: dict[str, Any]) -> None:
    deployment = Deployment()
    deployment.start(entry())
    before = dict(deployment.rows)
    (step,) = deployment.start(entry(**keys))
    assert (step.verb, step.id, step.active) == ("update", *before, None)


ENTRIES = [entry(cron, active=active) for cron in CRONS for active in (True, False)]
FILES = st.lists(
    st.sampled_from(ENTRIES),
    max_size=3,
    unique_by=lambda one: one.cron,
)


@given(FILES)
def test_a_first_start_gives_the_schedules_of_the_file(file: list[ScheduleEntry]) -> None:
    deployment = Deployment()
    deployment.start(*file)
    assert deployment.seen == {(str(one.cron), one.active) for one in file}


@given(FILES, FILES)
def test_without_changes_in_prefect_a_restart_gives_the_schedules_of_the_new_file(
    old: list[ScheduleEntry], new: list[ScheduleEntry]
) -> None:
    deployment = Deployment()
    deployment.start(*old)
    deployment.start(*new)
    assert deployment.seen == {(str(one.cron), one.active) for one in new}
    assert not said(deployment.start(*new))


@given(FILES, st.data())
def test_without_changes_of_the_file_a_restart_changes_nothing_in_prefect(
    file: list[ScheduleEntry], data: st.DataObject
) -> None:
    deployment = Deployment()
    deployment.start(*file)
    rows = st.builds(Present, st.sampled_from(CRONS), st.booleans())
    kept = st.sampled_from(sorted(deployment.rows)) if deployment.rows else st.nothing()
    deployment.rows = data.draw(st.dictionaries(kept | st.just("new"), rows, max_size=4))
    for _restart in range(2):
        before = dict(deployment.rows)
        deployment.start(*file)
        assert deployment.rows == before


@given(FILES, FILES, st.data())
def test_what_the_file_never_had_is_never_touched(
    old: list[ScheduleEntry], new: list[ScheduleEntry], data: st.DataObject
) -> None:
    deployment = Deployment()
    deployment.start(*old)
    added = data.draw(st.lists(st.sampled_from(CRONS), max_size=2))
    for cron in added:
        deployment.add(cron)
    mine = {key: row for key, row in deployment.rows.items() if key.startswith("ui-")}
    deployment.start(*new)
    adopted = {one.id for one in deployment.applied}
    assert all(deployment.rows.get(key) == row or key in adopted for key, row in mine.items())
    assert all(key in deployment.rows for key in mine)
