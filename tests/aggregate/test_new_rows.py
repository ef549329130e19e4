"""The rows that the previous run of a config did not have."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.aggregate.new_rows import write_new_rows
from tasks.plan.plan import Plan
from tasks.runs import run as runs
from tasks.runs.results import METADATA_KEY
from tasks.runs.run import Run
from tasks.store.tables import PREDICTIONS, commit_table, without_losses
from tests.support.finished_runs import prediction
from tests.support.planned_jobs import plan_job, write_job

Rows = list[dict[str, Any]]
CONFIG = "/jobs/nightly.yaml"
FIRST = [prediction(row) for row in range(4)]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    numbers = count()
    monkeypatch.setattr(runs, "new_run_id", lambda _now: f"2026-run-{next(numbers)}")
    store = f"store.path={tmp_path / 'store'}"
    return plan_job(write_job(tmp_path), store, "aggregate.only_new=true")


@dataclass(frozen=True)
class Finished:
    """A run with results, and what metrics.json says of its new rows."""

    run: Run
    told: dict[str, Any]

    @property
    def new(self) -> Rows:
        rows: Rows = pq.read_table(self.run.folder / "predictions_new.parquet").to_pylist()
        return rows

    @property
    def lines(self) -> Rows:
        text = Path(self.run.folder / "predictions_new.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


def finish(
    plan: Plan,
    rows: Rows,
    schema: pa.Schema = PREDICTIONS,
    config: str | None = CONFIG,
    rerun_of: str | None = None,
) -> Finished:
    """Write a complete run with these predictions; they are partial if the schema is marked."""
    run = Run.start(plan, config_file=config, rerun_of=rerun_of)
    batch = pa.RecordBatch.from_pylist(rows, schema)
    commit_table(run.folder / "predictions.parquet", schema, [batch])
    is_partial = schema.metadata is not None
    told = write_new_rows(plan, run, is_partial)
    run.succeed({"partial": is_partial, "rows_missing": 1, **told})
    return Finished(run, told)


def edited(**values: object) -> Callable[[Rows], Rows]:
    return lambda rows: [rows[0], rows[1] | values, *rows[2:]]


EDITS: dict[str, tuple[Callable[[Rows], Rows], list[int]]] = {
    "nothing": (lambda rows: rows, []),
    "appended": (lambda rows: [*rows, prediction(9), prediction(10)], [4, 5]),
    "inserted": (lambda rows: [rows[0], prediction(9), *rows[1:]], [1]),
    "deleted": (lambda rows: rows[1:], []),
    "shuffled": (lambda rows: [*rows[2:], *rows[:2]], []),
    "repeated": (lambda rows: [*rows, rows[0]], []),
    "a new one repeated": (lambda rows: [*rows, prediction(9), prediction(9)], [4, 5]),
    "another passage": (edited(context="c"), [1]),
    "another id": (edited(id="other"), [1]),
    "no reference": (edited(reference=None), [1]),
    "another question": (edited(question="q"), [1]),
    "another alternative": (edited(alternatives=[{"question": "q", "score": 0.5}]), [1]),
    "text moved to the next field": (edited(id="id-", context="1泰山位于山东省，海拔1米。"), [1]),
    "last digits of a score": (edited(score=-0.0100001), []),
    "all": (lambda _rows: [prediction(row) for row in range(20, 23)], [0, 1, 2]),
}


@pytest.mark.parametrize("name", EDITS)
def test_exactly_the_rows_that_the_previous_result_lacks_are_new(plan: Plan, name: str) -> None:
    change, expected = EDITS[name]
    first = finish(plan, FIRST)
    rows = [row | {"row": number} for number, row in enumerate(change(FIRST))]
    second = finish(plan, rows)
    assert second.told == {"rows_new": len(expected), "new_since": first.run.record.run_id}
    new = pa.RecordBatch.from_pylist([rows[number] for number in expected], PREDICTIONS)
    assert second.new == new.to_pylist()
    assert [line["row"] for line in second.lines] == expected
    assert [line["question"] for line in second.lines] == [
        rows[one]["question"] for one in expected
    ]


def test_in_the_first_run_of_a_config_all_rows_are_new(plan: Plan) -> None:
    finish(plan, FIRST, config="/jobs/other.yaml")
    for config in (CONFIG, None):
        found = finish(plan, FIRST, config=config)
        assert found.told == {"rows_new": 4, "new_since": None}
        assert [row["row"] for row in found.new] == [0, 1, 2, 3]


def test_the_files_are_results_and_are_written_only_if_asked_for(
    plan: Plan, tmp_path: Path
) -> None:
    def listed(run: Run) -> set[str]:
        success = json.loads(Path(run.folder / "_SUCCESS").read_text())
        return {entry["name"] for entry in success["files"]}

    names = {"predictions_new.parquet", "predictions_new.jsonl"}
    assert names <= listed(finish(plan, FIRST).run)
    without = plan_job(tmp_path, f"store.path={tmp_path / 'store'}")
    plain = finish(without, FIRST)
    assert plain.told == {"rows_new": None, "new_since": None}
    assert not names & listed(plain.run)
    assert finish(plan, FIRST).told["new_since"] == plain.run.record.run_id


def test_rows_that_a_partial_result_lacks_are_new_in_the_next_one(plan: Plan) -> None:
    marked = PREDICTIONS.with_metadata({METADATA_KEY: "{}"})
    partial = finish(plan, FIRST[:3], marked)
    assert (
        METADATA_KEY.encode()
        in pq.read_schema(partial.run.folder / "predictions_new.parquet").metadata
    )
    assert [line["partial"] for line in partial.lines] == [True] * 3
    found = finish(plan, FIRST)
    assert [row["row"] for row in found.new] == [3]
    assert "partial" not in found.lines[0]


def test_a_run_that_failed_or_is_going_on_is_passed_over(plan: Plan) -> None:
    first = finish(plan, FIRST[:2])
    Run.start(plan, config_file=CONFIG).fail("the disk is full")
    Run.start(plan, config_file=CONFIG)
    found = finish(plan, FIRST)
    assert found.told == {"rows_new": 2, "new_since": first.run.record.run_id}


def test_a_try_of_the_first_rows_is_passed_over(plan: Plan) -> None:
    first = finish(plan, FIRST[:3])
    of_whole = plan.settings.dataset
    of_try = of_whole.model_copy(update={"limit": 1})
    trial = replace(plan, settings=plan.settings.model_copy(update={"dataset": of_try}))
    assert finish(trial, FIRST[:1]).told == {"rows_new": 0, "new_since": first.run.record.run_id}
    assert finish(plan, FIRST).told == {"rows_new": 1, "new_since": first.run.record.run_id}


def test_a_rerun_is_compared_with_what_was_before_the_run_that_it_repeats(plan: Plan) -> None:
    finish(plan, FIRST[:2])
    second = finish(plan, FIRST)
    again = finish(plan, FIRST, rerun_of=second.run.record.run_id)
    assert (again.told, again.new) == (second.told, second.new)
    repaired = finish(plan, FIRST, rerun_of=again.run.record.run_id)
    assert (repaired.told, repaired.new) == (second.told, second.new)


def test_a_result_of_an_older_version_is_compared_too(plan: Plan) -> None:
    finish(plan, FIRST[:3], without_losses(PREDICTIONS))
    assert finish(plan, FIRST).told["rows_new"] == 1


@pytest.mark.parametrize("content", [None, b"", b"PAR1 damaged"])
def test_without_the_previous_predictions_all_rows_are_new(
    plan: Plan, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    path = Path(finish(plan, FIRST).run.folder / "predictions.parquet")
    path.unlink() if content is None else path.write_bytes(content)
    assert finish(plan, FIRST).told == {"rows_new": 4, "new_since": None}
    assert "all rows count as new" in caplog.text


def test_a_result_without_rows_has_no_new_ones(plan: Plan) -> None:
    finish(plan, FIRST)
    assert finish(plan, []).told["rows_new"] == 0
