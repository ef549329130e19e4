"""A deployment in prefect.yaml, and its schedules, as pydantic models.

The keys are those that `prefect deploy` reads; see `IGNORED` for those without a meaning here.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import (
    SCHEDULE_TYPES,
    CronSchedule,
    IntervalSchedule,
    RRuleSchedule,
)
from prefect.schedules import Schedule
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tasks.config.sections.section import Text

IGNORED = ("triggers", "sla", "flow_name", "version_type", "enforce_parameter_schema")
"""Keys that `prefect deploy` reads and `wenti serve` cannot apply."""

LONGEST_INTERVAL = 366 * 86400
_BANNED = re.compile("[/%&<>]")  # in Prefect's names


def _check_name(name: str) -> str:
    if _BANNED.search(name):
        raise ValueError("Prefect allows no / % & < > in names")
    return name


def _check_zone(zone: str) -> str:
    zones = available_timezones()
    if zone not in zones:
        close = difflib.get_close_matches(zone, zones, n=1, cutoff=0.85)
        example = close[0] if close else "Asia/Shanghai (all of China) or Europe/Berlin"
        raise ValueError(f"write the name of a time zone, such as {example}")
    return zone


def _check_cron(cron: str) -> str:
    try:
        Schedule(cron=cron)
    except ValueError as error:
        fields = "minute, hour, day, month, weekday"
        raise ValueError(f"write five fields ({fields}), such as 30 1 * * *") from error
    return cron


def _check_interval(seconds: float) -> float:
    if not 1 <= seconds <= LONGEST_INTERVAL:
        raise ValueError("write the seconds between two runs, from 1 to 31622400 (a year)")
    return seconds


def _check_rrule(rrule: str) -> str:
    try:
        Schedule(rrule=rrule)
    except ValueError as error:
        raise ValueError("write it as in RRULE:FREQ=DAILY;INTERVAL=1") from error
    return rrule


class Entry(BaseModel):
    """Base of the models: no unknown keys, and no types converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ScheduleEntry(Entry):
    """One of a deployment's `schedules`."""

    cron: Annotated[str, AfterValidator(_check_cron)] | None = None
    interval: Annotated[float, AfterValidator(_check_interval)] | None = None  # seconds
    rrule: Annotated[str, AfterValidator(_check_rrule)] | None = None
    timezone: Annotated[str, AfterValidator(_check_zone)] | None = None
    anchor_date: Annotated[datetime, Field(strict=False)] | None = None
    day_or: bool = True
    active: bool = True
    parameters: dict[str, Any] = {}
    slug: Text | None = None

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> ScheduleEntry:
        kinds = [self.cron, self.interval, self.rrule]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("write one of cron, interval and rrule")
        return self

    def __str__(self) -> str:
        """Return when it is due, such as `30 1 * * * (UTC)`."""
        return self._when

    @cached_property
    def _when(self) -> str:
        # Prefect lists all time zones on the disk to check one, which takes 5 ms.
        return describe_schedule(self.as_prefect().schedule)

    @property
    def digest(self) -> str:
        """A digest of all keys but `active`."""
        keys = self.model_dump_json(exclude={"active"}, exclude_defaults=True)
        return hashlib.sha256(keys.encode()).hexdigest()[:16]

    def as_prefect(self) -> DeploymentScheduleCreate:
        """Return it as Prefect's client takes it."""
        seconds = None if self.interval is None else timedelta(seconds=self.interval)
        others = self.model_dump(exclude={"interval"}, exclude_none=True)
        return DeploymentScheduleCreate.from_schedule(Schedule(interval=seconds, **others))


def describe_schedule(schedule: SCHEDULE_TYPES) -> str:
    """Return when a schedule of Prefect is due, such as `30 1 * * * (UTC)`."""
    if isinstance(schedule, CronSchedule):
        when = schedule.cron
    elif isinstance(schedule, IntervalSchedule):
        when = f"every {schedule.interval}"
    elif isinstance(schedule, RRuleSchedule):
        when = " ".join(schedule.rrule.split())  # Prefect puts DTSTART on a line of its own
    else:
        return "no schedule"
    return f"{when} ({schedule.timezone or 'UTC'})"


class ConcurrencyEntry(Entry):
    """A `concurrency_limit` with what happens to the runs above it."""

    limit: Annotated[int, Field(ge=1)]
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"
    grace_period_seconds: Annotated[int, Field(ge=60, le=86400)] | None = None


class DeploymentEntry(Entry):
    """One of the `deployments`."""

    name: Annotated[Text, AfterValidator(_check_name)]
    entrypoint: Text
    description: str | None = None
    tags: list[Text] = []
    version: Text | None = None
    parameters: dict[str, Any] = {}
    schedules: list[ScheduleEntry] = []
    paused: bool | None = None
    concurrency_limit: Annotated[int, Field(ge=1)] | ConcurrencyEntry | None = None
    allow_overrides: Any = None  # checked by `flows.deployments.permissions.find_faults`

    # For `prefect deploy` only.
    work_pool: Any = None
    build: Any = None
    push: Any = None
    pull: Any = None
    triggers: Any = None
    sla: Any = None
    flow_name: Any = None
    version_type: Any = None
    enforce_parameter_schema: Any = None

    def as_given(self) -> dict[str, Any]:
        """Return the keys that the file gives, as `flows.deployments.permissions` takes them."""
        return self.model_dump(exclude_unset=True)

    def describe(self) -> str:
        """Return what it runs and when, for example `demo: 30 1 * * * (UTC), paused`."""
        config = self.parameters.get("config")
        what = self.entrypoint if config is None else str(config)
        whens = [f"{one}{'' if one.active else ', paused'}" for one in self.schedules]
        return f"{what}: {'; '.join(whens) or 'no schedule'}"
