from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import StoreCorruptionError
from tasks.plan.plan import Plan
from tasks.runs.find import read_record
from tasks.runs.record import RunRecord
from tasks.runs.results import RUN_FILE
from tasks.runs.run import Run, commit_json
from tests.support.planned_jobs import plan_job, write_job
from tests.support.run_records import least_record


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_job(write_job(tmp_path), f"store.path={tmp_path / 'store'}")


def content(run: Run) -> str:
    return (run.folder / RUN_FILE).read_text(encoding="utf-8")


def as_json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, indent=2) + "\n"


def started(plan: Plan, run: Run, **asked: object) -> dict[str, Any]:
    """Return the expected content of a new run.json, in the order of the file."""
    return {
        "run_id": run.folder.name,
        "state": "running",
        "started": json.loads(content(run))["started"],
        "process": os.getpid(),
        "config": plan.settings.as_dict(),
        "export": plan.export.fingerprint,
        "dataset": plan.dataset.fingerprint,
        "predictions": plan.predictions.fingerprint,
        "columns": plan.columns.fingerprint,
        "rows_per_shard": plan.settings.shards.rows_per_shard,
        "model_folder": str(plan.model_folder.absolute()),
        "decided_by": plan.decided_by,
        "versions": {
            "python": platform.python_version(),
            "wenti": version("wenti"),
            "tokenizers": version("tokenizers"),
        },
        **asked,
    }


def test_run_json_says_what_was_asked_and_how_the_run_ended(plan: Plan) -> None:
    run = Run.start(plan, flow_run_id="0197d1f0", config_file="/jobs/夜.yaml")
    record = started(plan, run, flow_run_id="0197d1f0", config_file="/jobs/夜.yaml")
    assert content(run) == as_json(record)

    began = run.journal.since_start(0.0)
    run.note_stage("export", 0.0, is_reused=False)
    run.note_stage("predict", 0.0)
    assert content(run) == as_json(record)
    run.succeed({"partial": True, "rows_missing": 6})
    ended = json.loads(content(run))["ended"]
    assert content(run) == as_json(
        {
            **record,
            "state": "completed",
            "stages": {
                "export": {"started": began, "reused": False},
                "predict": {"started": began},
            },
            "ended": ended,
            "partial": True,
            "rows_missing": 6,
        }
    )
    assert ended >= record["started"]


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_run_json_of_a_rerun_says_of_what_and_why_it_ended(plan: Plan, state: str) -> None:
    run = Run.start(plan, flow_run_id="0197d1f0", rerun_of="20261122-010000-ffffff")
    asked = {"flow_run_id": "0197d1f0", "rerun_of": "20261122-010000-ffffff", "config_file": None}
    record = started(plan, run, **asked)
    end = run.fail if state == "failed" else run.interrupt
    end("it was 满")
    ended = json.loads(content(run))["ended"]
    assert content(run) == as_json({**record, "state": state, "ended": ended, "error": "it was 满"})


def test_a_record_is_read_back_as_it_was_written(plan: Plan) -> None:
    run = Run.start(plan, config_file="/jobs/nightly.yaml")
    run.note_stage("load", 0.0, is_reused=True)
    run.fail("boom")
    assert read_record(run.folder) == run.record


def test_keys_of_another_version_are_kept_and_missing_ones_stay_missing() -> None:
    values = least_record(host="node-3", stages={"load": {"started": 0.5, "rows": 3}})
    record = RunRecord.model_validate(values)
    assert record.as_dict() == values
    assert (record.config, record.decided_by, record.model_folder) == ({}, None, None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"run_id": "2026', "Unterminated string"),
        (b"[]", "valid dictionary"),
        (b"[" * 100_000, "recursion"),
        (as_json(least_record(stages=[])).encode(), "stages: "),
        (b"{}", "run_id: Field required; state: "),
        (as_json(least_record(started="2026-11-2301")).encode(), "started: "),
        (as_json(least_record(started="2026-11-23T01:00:00")).encode(), "without its time zone"),
        (as_json(least_record(decided_by={"export": 3})).encode(), "decided_by"),
    ],
    ids=[
        *("cut off", "a list", "deep", "another type", "no keys"),
        *("no time", "no time zone", "no causes"),
    ],
)
def test_a_damaged_record_is_an_error_that_names_the_file_and_the_remedy(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / RUN_FILE).write_bytes(content)
    with pytest.raises(StoreCorruptionError) as caught:
        read_record(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / RUN_FILE} is damaged (")
    assert told in message
    assert message.endswith("; start a new run with `wenti run` of its config")
    assert "\n" not in message


def test_a_record_without_any_optional_key_is_read(tmp_path: Path) -> None:
    commit_json(tmp_path / RUN_FILE, least_record())
    assert read_record(tmp_path).as_dict() == least_record()


def test_an_error_that_names_a_file_whose_name_is_not_utf_8_is_written_down(tmp_path: Path) -> None:
    error = "cannot read " + os.fsdecode(b"passages-\xff.jsonl")
    commit_json(tmp_path / "run.json", {"error": error})
    assert json.loads((tmp_path / "run.json").read_bytes()) == {"error": error}


def test_many_files_of_passages_are_described_by_the_first_ones() -> None:
    names = [f"{number}.jsonl" for number in range(1000)]
    for given, told in (
        (names, "0.jsonl, 1.jsonl, 2.jsonl and 997 more"),
        (names[:3], "0.jsonl, 1.jsonl, 2.jsonl"),
        ("in/*.jsonl", "in/*.jsonl"),
        (None, None),
    ):
        record = RunRecord.model_validate(least_record(config={"dataset": {"predict_file": given}}))
        assert record.passages == told
