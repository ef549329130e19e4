"""Reading prefect.yaml: every mistake is told at once, before a server is started."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.schedules import CronSchedule

from flows.deployments.entries import ScheduleEntry
from flows.deployments.file import list_names, read_deployments
from tasks.errors import ConfigError
from tests.support.commands import wenti
from tests.support.rehearsal import ROOT

PREFECT_YAML = ROOT / "prefect.yaml"
FLOW = "flows.question_generation.question_generation"
RERUN = "flows.question_generation.rerun"
DEMO = {"config": "demo"}
EVERY_NIGHT = {"cron": "30 1 * * *", "timezone": "Asia/Shanghai"}

SCHEDULES = [
    ({"cron": "30 1 * *"}, ".cron", "such as 30 1 * * *"),
    ({"cron": "61 1 * * *"}, ".cron", "minute, hour, day, month, weekday"),
    ({"crn": "30 1 * * *"}, ".crn", "did you mean cron?"),
    ({"cron": "30 1 * * *", "timezone": "Asia/Bejing"}, ".timezone", "Asia/Shanghai"),
    ({"cron": "30 1 * * *", "timezone": "Europe/Berln"}, ".timezone", "Europe/Berlin"),
    ({"interval": 0}, ".interval", "seconds"),
    ({"interval": "1h"}, ".interval", "number"),
    ({"interval": float("nan")}, ".interval", "seconds"),
    ({"interval": 1e-7}, ".interval", "from 1 to"),
    ({"interval": 1e15}, ".interval", "(a year)"),
    ({"rrule": "FREQ=SOMETIMES"}, ".rrule", "FREQ=DAILY"),
    ({"cron": "30 1 * * *", "interval": 60}, "", "one of cron, interval and rrule"),
    ({"timezone": "UTC"}, "", "one of cron, interval and rrule"),
    ({"cron": "30 1 * * *", "active": "perhaps"}, ".active", "boolean"),
    ({"cron": "30 1 * * *", "slug": ""}, ".slug", "non-empty text"),
    (7, "", "write keys below it"),
]
DEPLOYMENTS = [
    ({"entrypoint": "flows.nowhere.rerun"}, ".entrypoint", "No module named"),
    ({"entrypoint": "flows.question_generation.nothing"}, ".entrypoint", "nothing"),
    ({"schedule": EVERY_NIGHT}, ".schedule", "did you mean schedules?"),
    ({"schedules": 4}, ".schedules", "list"),
    ({"tags": "a"}, ".tags", "list"),
    ({"concurrency_limit": "many"}, ".concurrency_limit", "a whole number"),
    ({"concurrency_limit": {"limit": 1, "collision_strategy": "X"}}, ".concurrency_limit", "ENQ"),
    ({"parameters": 4}, ".parameters", "dictionary"),
    ({"parameters": {"confg": "mine"}}, ".parameters.confg", "did you mean config?"),
    ({"parameters": {"config": "dmo"}}, ".parameters.config", "did you mean demo?"),
    ({"parameters": {"config": "configs/demo.yaml"}}, ".parameters.config", "is a path"),
    ({"parameters": {"config": 4}}, ".parameters.config", "4 is not"),
    ({"allow_overrides": "decode"}, ".allow_overrides", "not a list"),
    ({"allow_overrides": ["decod"]}, ".allow_overrides", "did you mean decode?"),
    ({"allow_overrides": [["decode"]]}, ".allow_overrides", "there is no key"),
    ({"parameters": {**DEMO, "day": "yesterday"}}, ".parameters.day", "'yesterday' is not"),
]
OVERRIDES = [
    ({"dataset": {"predict_fil": "x"}}, "dataset.predict_fil", "did you mean predict_file?"),
    ({"dataset": {"predict_file": "{date-}"}}, "dataset.predict_file", "{date-1}"),
    ({"dataset": {"template": 9}}, "dataset.template", "at most 4"),
    ({"decode": {"max_dec_len": 8, "min_dec_len": 9}}, "decode.min_dec_len", "max_dec_len = 8"),
    ({"datset": {}}, "datset", "did you mean dataset?"),
    ({"decode": 5}, "decode", "is not a section"),
    ({"decode": None}, "decode", "is not a section"),
    ({"predict": {"devices": "al"}}, "predict.devices", "allowed: a list of device names"),
]


def write(folder: Path, *deployments: object) -> Path:
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump({"deployments": list(deployments)}), encoding="utf-8")
    return file


def faults_of(file: Path, *names: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_deployments(file, names)
    assert str(file) in str(caught.value)
    return [str(fault) for fault in caught.value.faults]


def nightly(**keys: object) -> dict[str, Any]:
    return {"name": "nightly", "entrypoint": FLOW, **keys}


def test_our_own_file_has_no_faults_and_its_nightly_schedule_is_that_of_the_file() -> None:
    listed = yaml.safe_load(PREFECT_YAML.read_text())["deployments"]
    entries = {entry.name: entry for entry in read_deployments(PREFECT_YAML)}
    assert list(entries) == [one["name"] for one in listed] == list_names(PREFECT_YAML)
    (schedule,) = entries["nightly"].schedules
    prefects = schedule.as_prefect()
    assert prefects.schedule == CronSchedule(cron="30 1 * * *", timezone="Asia/Shanghai")
    assert not prefects.active


def test_deployments_are_chosen_by_name_in_the_order_of_the_names() -> None:
    chosen = read_deployments(PREFECT_YAML, ["rerun", "demo"])
    assert [one.name for one in chosen] == ["rerun", "demo"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file: it has no list of `deployments`"),
        ("[]", "the file: a list instead of keys"),
        ("deployments:", "the file: it has no list of `deployments`"),
        ("deployments: []", "the file: it has no list of `deployments`"),
        ("deployments: {", "the file: not YAML: while parsing"),
        ("name: a\ndeployments: []\nname: b", "the key name is repeated (lines 1, 3)"),
        ("deployments: \xff", "the file: 'utf-8' codec"),
        (f"deployments: [{{entrypoint: {RERUN}}}]", "deployments[0]: it has no `name`"),
        ("deployments: [demo]", "deployments[0]: it has no `name`"),
        ("deployments: [{name: 4}]", "deployments[0]: it has no `name`"),
        ("deployments: [{name: demo}]", "demo: it has no `entrypoint`"),
        ("deployments: [{name: a/b}]", "a/b.name: 'a/b' (str) is not allowed; Prefect allows no /"),
    ],
)
def test_a_file_without_what_is_needed_is_refused_and_says_where(
    tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(content, encoding="latin-1")
    assert words in " ".join(faults_of(file))


def test_a_file_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "prefect.yaml")
    assert "not a regular file" in faults_of(tmp_path / "prefect.yaml")[0]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "there is no such file" in faults_of(tmp_path / "prefect.yaml")[0]


@pytest.mark.parametrize(("schedule", "place", "words"), SCHEDULES)
def test_a_wrong_schedule_is_named_with_its_place_and_the_remedy(
    tmp_path: Path, schedule: object, place: str, words: str
) -> None:
    file = write(tmp_path, nightly(parameters=DEMO, schedules=[EVERY_NIGHT, schedule]))
    assert any(
        fault.startswith(f"nightly.schedules[1]{place}: ") and words in fault
        for fault in faults_of(file)
    )


@pytest.mark.parametrize(("keys", "place", "words"), DEPLOYMENTS)
def test_a_wrong_key_of_a_deployment_is_named_with_its_place_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, object], place: str, words: str
) -> None:
    monkeypatch.chdir(ROOT)
    (fault,) = faults_of(write(tmp_path, nightly(**keys)))
    assert fault.startswith(f"nightly{place}: ")
    assert words in fault
    assert len(fault) < 400


@pytest.mark.parametrize(("overrides", "place", "words"), OVERRIDES)
def test_overrides_are_checked_together_with_their_config(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: dict[str, object],
    place: str,
    words: str,
) -> None:
    monkeypatch.chdir(ROOT)
    file = write(tmp_path, nightly(parameters={**DEMO, "overrides": overrides}))
    (fault,) = faults_of(file)
    assert fault.startswith(f"nightly.parameters.overrides.{place}: ")
    assert words in fault


def test_a_config_that_no_sender_may_choose_can_be_a_path(tmp_path: Path) -> None:
    parameters = {"config": str(ROOT / "configs/demo.yaml")}
    file = write(tmp_path, nightly(parameters=parameters, allow_overrides=["decode"]))
    (entry,) = read_deployments(file)
    assert entry.as_given()["allow_overrides"] == ["decode"]


def test_a_fault_of_the_config_itself_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WENTI_CONFIGS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.yaml").write_text("decode: {num_beam: 4}")
    (fault,) = faults_of(write(tmp_path, nightly(parameters=DEMO)))
    place = re.escape(f"nightly.parameters.config ({tmp_path}/demo.yaml): decode.num_beam: ")
    assert re.match(place, fault)


def test_the_parameters_of_a_schedule_are_checked_as_its_runs_will_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    schedules = [
        {**EVERY_NIGHT, "parameters": {"config": "demo"}},
        {**EVERY_NIGHT, "parameters": {"config": "dmo"}},
        EVERY_NIGHT,
    ]
    wrong, missing = faults_of(write(tmp_path, nightly(schedules=schedules)))
    assert wrong.startswith(
        "nightly.schedules[1].parameters.config: 'dmo': there is no such config"
    )
    assert missing.startswith("nightly.schedules[2]: `config` of question-generation is missing")


def test_all_faults_of_all_deployments_are_told_at_once(tmp_path: Path) -> None:
    other = {"name": "again", "entrypoint": RERUN, "parameters": {"shards": "3;4", "store": 4}}
    first = nightly(parameters={"confg": "mine"}, schedules=[{"cron": "x", "timezone": "y"}])
    faults = faults_of(write(tmp_path, first, other, nightly(entrypont=FLOW)))
    places = [fault.partition(": ")[0] for fault in faults]
    assert places == [
        "nightly",
        "nightly.schedules[0].cron",
        "nightly.schedules[0].timezone",
        "nightly.parameters.confg",
        "nightly.schedules[0]",
        "again.parameters.shards",
        "again.parameters.store",
        "nightly.entrypont",
    ]
    assert faults[0] == "nightly: two deployments have this name; rename one"


def test_a_deployment_that_is_not_served_may_have_faults(tmp_path: Path) -> None:
    file = write(tmp_path, {"name": "draft"}, {"name": "rerun", "entrypoint": RERUN})
    assert [one.name for one in read_deployments(file, ["rerun"])] == ["rerun"]
    assert faults_of(file, "rerum", "draft") == [
        "rerum: no such deployment; did you mean rerun?",
        f"draft: it has no `entrypoint`; give it one, such as {FLOW}",
    ]


def test_keys_without_a_value_are_those_of_a_missing_key(tmp_path: Path) -> None:
    file = write(tmp_path, nightly(parameters=None, schedules=None, tags=None, work_pool=None))
    (entry,) = read_deployments(file)
    assert (entry.schedules, entry.parameters, entry.tags) == ([], {}, [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["cron", "interval", "name", "config", "overrides", "dataset", 3, "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from([*nightly(), "parameters", "schedules", "allow_overrides", "x"]), JSON
    )
)
def test_whatever_a_deployment_holds_is_accepted_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, keys: dict[str, object]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(yaml.safe_dump({"deployments": [nightly(**keys)]}), encoding="utf-8")
    with suppress(ConfigError):
        read_deployments(file)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (EVERY_NIGHT, "30 1 * * * (Asia/Shanghai)"),
        ({"cron": "@daily"}, "@daily (UTC)"),
        ({"interval": 5400}, "every 1:30:00 (UTC)"),
        ({"rrule": "FREQ=DAILY", "timezone": "UTC"}, "DTSTART:20200101T000000 FREQ=DAILY (UTC)"),
    ],
)
def test_a_schedule_is_shown_in_one_line(schedule: dict[str, Any], expected: str) -> None:
    assert str(ScheduleEntry.model_validate(schedule)) == expected


def test_serve_refuses_a_wrong_file_before_it_starts_a_server(tmp_path: Path) -> None:
    file = write(tmp_path, nightly(parameters=DEMO, schedules=[{"cron": "30 1 * *"}]))
    done = wenti("serve", "--file", str(file))
    assert done.returncode == 2
    assert "nightly.schedules[0].cron: '30 1 * *'" in done.stderr
    assert "starting a Prefect server" not in done.stderr
    assert "Traceback" not in done.stderr
    again = wenti("doctor", "--file", str(file))
    assert (again.returncode, again.stderr) == (2, done.stderr)


def test_doctor_without_a_config_shows_what_the_deployments_run() -> None:
    done = wenti("doctor")
    assert done.returncode == 0
    assert "no problems found; start with: wenti serve" in done.stdout
    assert all(name in done.stdout for name in list_names(PREFECT_YAML))
