"""The day of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prefect import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.server.schemas.schedules import CronSchedule as CronScheduleOfServer

from flows.run_context import choose_zone, day_in
from flows.server.runner import RunLoop, ServingRunner
from tests.support.rehearsal import ROOT, write_passages

SHANGHAI, KIRITIMATI = "Asia/Shanghai", "Pacific/Kiritimati"
# Zones whose clocks change, three of them at midnight, and two that skipped a whole day.
ZONES = [
    *("Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Africa/Cairo", "Asia/Beirut"),
    *("Australia/Lord_Howe", "Pacific/Apia", "Asia/Shanghai", "UTC", KIRITIMATI, "Etc/GMT+12"),
]
MADE_BY, OTHER = uuid4(), uuid4()
FLOW = """
from pathlib import Path
from prefect import flow
from flows.run_context import scheduled_day

@flow
def tell():
    with Path(__file__).with_name("days").open("a") as file:
        file.write(f"{scheduled_day()}\\n")
"""


def days_of(cron: str, zone: str, start: datetime, count: int) -> list[date]:
    """Return the days of the runs that Prefect's server schedules."""
    schedule = CronScheduleOfServer(cron=cron, timezone=zone)
    moments = asyncio.run(schedule.get_dates(count, start=start.replace(tzinfo=UTC)))
    return [day_in(moment, zone) for moment in moments]


@pytest.mark.parametrize(
    ("creator", "zones", "expected"),
    [
        (MADE_BY, {MADE_BY: SHANGHAI, OTHER: "UTC"}, SHANGHAI),
        (OTHER, {MADE_BY: SHANGHAI, OTHER: "UTC"}, "UTC"),
        (uuid4(), {MADE_BY: SHANGHAI, OTHER: SHANGHAI}, SHANGHAI),  # a schedule that is gone
        (None, {MADE_BY: SHANGHAI}, SHANGHAI),  # started by hand
        (None, {MADE_BY: SHANGHAI, OTHER: "UTC"}, None),
        (None, {}, None),
    ],
)
def test_the_zone_is_that_of_the_schedule_or_of_all_schedules(
    creator: UUID | None, zones: Mapping[UUID, str], expected: str | None
) -> None:
    assert choose_zone(creator, zones) == expected


def exists(day: date, zone: str) -> bool:
    """Whether a zone has had a day: Samoa skipped 30 December 2011, Kiribati the end of 1994."""
    noon = datetime.combine(day, time(12), ZoneInfo(zone))
    return noon.astimezone(UTC).astimezone(noon.tzinfo).date() == day


@settings(max_examples=25)
@example(KIRITIMATI, datetime(1994, 5, 1), 1, 0)
@example("Pacific/Apia", datetime(2011, 6, 1), 1, 0)
@given(
    st.sampled_from(ZONES),
    st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)),
    st.integers(1, 23),  # in the first hour, see the next test
    st.integers(0, 59),
)
def test_a_daily_schedule_has_one_run_for_every_day_of_its_zone_whatever_its_clocks_do(
    zone: str, start: datetime, hour: int, minute: int
) -> None:
    days = days_of(f"{minute} {hour} * * *", zone, start, 250)
    calendar = (days[0] + timedelta(days=number) for number in range(252))
    assert days == [day for day in calendar if exists(day, zone)][:250]


def test_a_run_in_an_hour_that_the_clocks_skip_at_midnight_has_the_day_before() -> None:
    """docs/operating.md says so: Prefect schedules such a run before midnight."""
    days = days_of("30 0 * * *", "Africa/Cairo", datetime(2026, 4, 22), 4)
    assert [day.isoformat() for day in days] == [
        *("2026-04-23", "2026-04-23", "2026-04-25", "2026-04-26"),
    ]


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_starts_late_has_the_day_of_its_schedule_in_the_zone_of_the_schedule(
    tmp_path: Path,
) -> None:
    """At 00:50 on 8 March in Kiritimati, it is 7 March in UTC; the run starts much later."""
    (tmp_path / "tell.py").write_text(FLOW)
    runner, loop = ServingRunner(1), RunLoop({})
    entrypoint = f"{tmp_path / 'tell.py'}:tell"
    deployment = runner.add_deployment(RunnerDeployment.from_entrypoint(entrypoint, name="night"))
    with get_client(sync_client=True) as client:
        nights = CronSchedule(cron="50 0 * * *", timezone=KIRITIMATI)
        other = CronSchedule(cron="0 12 1 1 *", timezone="Etc/GMT+12")
        client.create_deployment_schedules(
            deployment,
            [DeploymentScheduleCreate(schedule=one) for one in (nights, other)],
        )
        due = {"start_time": "2026-03-07T10:00:00Z", "end_time": "2026-03-07T11:00:00Z"}
        client.request("POST", f"/deployments/{deployment}/schedule", json=due)
        with asyncio.Runner(loop_factory=lambda: loop) as tasks:
            tasks.run(runner.start(run_once=True))
        client.delete_deployment(deployment)
    assert (tmp_path / "days").read_text() == "2026-03-08\n"


@pytest.mark.usefixtures("prefect_server")
def test_a_rerun_keeps_the_day_of_its_run(tmp_path: Path) -> None:
    from flows.question_generation import question_generation, rerun

    write_passages(tmp_path / "20260307.jsonl", rows=4)
    overrides = {
        "store": {"path": str(tmp_path / "store")},
        "model": {"model_name_or_path": str(ROOT / "data/checkpoint")},
        "dataset": {"predict_file": f"{tmp_path}/{{date-1:%Y%m%d}}.jsonl"},
        "export": {"engine": "fake"},
    }
    config = str(ROOT / "configs/demo.yaml")
    first = question_generation(config, day=date(2026, 3, 8), overrides=overrides)
    again = rerun(store=str(tmp_path / "store"))
    assert again["metrics"]["shards_reused"] == first["metrics"]["shards_made"] == 1
    assert (Path(again["folder"]) / "config.yaml").read_text().count("20260307.jsonl") == 1
