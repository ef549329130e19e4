"""Which run a night is compared with, and what a suspect one leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tasks.aggregate.gate.check import check_quality, raise_if_suspect
from tasks.errors import SuspectError
from tasks.plan.plan import Plan
from tasks.quality.flags import FLAGS
from tasks.runs import run as runs
from tasks.runs.find import get_state
from tasks.runs.run import Run
from tests.support.planned_jobs import plan_job, write_job

CONFIG = "/jobs/nightly.yaml"
GOOD, BAD = 10, 600  # unfinished questions of a thousand


@dataclass
class Nights:
    """Runs of a config, each with a number of unfinished questions, in one store."""

    job: Path
    numbers: Iterator[int] = field(default_factory=count)

    def plan(self, *overrides: str) -> Plan:
        return plan_job(
            self.job, f"store.path={self.job / 'store'}", "quality.max_drift=0.05", *overrides
        )

    def night(
        self, unfinished: int, *overrides: str, partial: bool = False, **asked: str | None
    ) -> tuple[Run, dict[str, Any]]:
        """Finish a run; return it, and its metrics."""
        plan = self.plan(*overrides)
        run = Run.start(plan, **{"config_file": CONFIG, **asked})
        metrics: dict[str, Any] = {
            "quality": {
                "rows": 1000,
                "flags": {**dict.fromkeys(FLAGS, 0), "unfinished": unfinished},
                "means": {"score_per_token": -0.5},
                "score_deviation": 0.1,
            },
            **{"rows_in": 1000, "rejects": 0, "rows_missing": 0, "partial": partial},
        }
        metrics["gate"] = check_quality(plan, run, metrics)
        run.succeed(metrics)
        return run, metrics

    def since(self, *overrides: str, **asked: str | None) -> str | None:
        """Return the run that a good night is compared with."""
        found: str | None = self.night(GOOD, *overrides, **asked)[1]["gate"]["since"]
        return found


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    nights = Nights(write_job(tmp_path))
    monkeypatch.setattr(runs, "new_run_id", lambda _now: f"2026-run-{next(nights.numbers)}")
    return nights


def test_the_first_night_has_nothing_to_be_compared_with(nights: Nights) -> None:
    _run, metrics = nights.night(BAD)
    assert metrics["gate"] == {"since": None, "breaches": []}


def test_a_bad_night_is_suspect_and_no_measure_for_the_next_one(nights: Nights) -> None:
    first, _ = nights.night(GOOD)
    bad, metrics = nights.night(BAD)
    assert metrics["gate"]["since"] == first.record.run_id
    (breach,) = metrics["gate"]["breaches"]
    assert (breach["measure"], breach["value"], breach["before"]) == ("unfinished", 0.6, 0.01)
    state = get_state(bad.folder)
    assert (state.state, state.outcome.partition(" after")[0]) == (
        "suspect",
        "completed, but its questions are suspect",
    )
    _run, again = nights.night(BAD)
    assert again["gate"]["since"] == first.record.run_id
    assert again["gate"]["breaches"]


def test_a_level_is_accepted_by_a_run_without_the_comparison(nights: Nights) -> None:
    nights.night(GOOD)
    accepted, metrics = nights.night(BAD, "quality.max_drift=null")
    assert metrics["gate"] is None
    _run, after = nights.night(BAD)
    assert after["gate"] == {"since": accepted.record.run_id, "breaches": []}


def test_only_runs_of_the_same_kind_are_compared(nights: Nights) -> None:
    good = nights.night(GOOD)[0].record.run_id
    nights.night(GOOD, partial=True)
    nights.night(GOOD, config_file="/jobs/other.yaml")
    assert nights.since("dataset.limit=1") is None
    assert nights.since("export.engine=fake") is None
    assert nights.since() == good
    assert nights.since(config_file=None) is None


def test_a_rerun_is_compared_with_what_the_first_try_was_compared_with(nights: Nights) -> None:
    good = nights.night(GOOD)[0].record.run_id
    tried = nights.night(GOOD)[0].record.run_id
    last = nights.night(GOOD)[0].record.run_id
    assert nights.since(rerun_of=tried) == good
    assert nights.since() == last  # not with the rerun of an older night


def test_a_rerun_of_the_last_night_takes_its_place(nights: Nights) -> None:
    last = nights.night(GOOD)[0].record.run_id
    again = nights.night(GOOD, rerun_of=last)[0].record.run_id
    assert nights.since() == again


def test_lost_metrics_of_an_earlier_run_end_no_run(nights: Nights) -> None:
    run, _metrics = nights.night(GOOD)
    (Path(run.folder) / "metrics.json").write_text("{")
    assert nights.since() is None


def test_a_run_without_any_limit_is_suspect_if_no_question_is_kept(nights: Nights) -> None:
    run, metrics = nights.night(GOOD, "quality.max_drift=null")
    plan = nights.plan("quality.max_drift=null", "quality.on_breach=fail")
    dropped = {"rejects": 1000, "rows_dropped": 900, "predictions": 100}
    assert check_quality(plan, run, metrics | dropped) is None
    all_dropped = metrics | {"rejects": 1000, "rows_dropped": 1000, "predictions": 0}
    all_dropped["gate"] = check_quality(plan, run, all_dropped)
    told = r"dropped 1000 of 1000 \(100.0 %\); aggregate.keep leaves no question"
    with pytest.raises(SuspectError, match=told):
        raise_if_suspect(plan, run, all_dropped)


def test_without_limits_nothing_is_checked_and_without_scores_that_is_told(
    nights: Nights, caplog: pytest.LogCaptureFixture
) -> None:
    assert nights.night(BAD, "quality.max_drift=null")[1]["gate"] is None
    run, metrics = nights.night(GOOD)
    metrics["quality"]["means"]["score_per_token"] = None
    plan = nights.plan("quality.min_mean_score=0")
    gate = check_quality(plan, run, metrics)
    assert gate is not None
    assert gate["breaches"] == []
    assert "quality.min_mean_score is not checked" in caplog.text


def test_a_suspect_run_fails_only_if_the_config_says_so(nights: Nights) -> None:
    nights.night(GOOD)
    run, metrics = nights.night(BAD)
    raise_if_suspect(nights.plan(), run, metrics)
    failing = nights.plan("quality.on_breach=fail")
    with pytest.raises(SuspectError, match=r"unfinished 600 of 1000 \(60\.0 %\)") as caught:
        raise_if_suspect(failing, run, metrics)
    assert caught.value.exit_code == 4
    assert str(run.folder) in str(caught.value)
    raise_if_suspect(failing, *nights.night(GOOD))
