"""What `wenti serve` and `wenti doctor` say about the places that deployments write to."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from flows.cli.tables.doctor import can_run, check_deployments
from flows.deployments.entries import DeploymentEntry
from flows.deployments.file import read_deployments
from flows.deployments.places import find_place_warnings
from tests.support.rehearsal import ROOT

FILE = """
deployments:
- name: nightly
  entrypoint: flows.question_generation.question_generation
  parameters:
    config: demo
    overrides:
      store: {path: /proc/store}
      aggregate: {output_path: "/proc/{date}.txt"}
- name: again
  entrypoint: flows.question_generation.rerun
"""


def test_places_of_a_deployment_that_cannot_be_written_are_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(FILE, encoding="utf-8")
    warnings = list(find_place_warnings(read_deployments(file)))
    assert {one.key for one in warnings} == {
        "nightly: store.path",
        "nightly: aggregate.output_path",
    }
    findings = check_deployments(file)
    assert {*warnings} < {*findings}
    assert can_run(findings)


OURS = "flows.question_generation.question_generation"


@pytest.mark.parametrize(
    ("entrypoint", "parameters"),
    [
        ("own.flow", {"config": "prod"}),
        ("own.flow", {"config": "demo", "overrides": {"store": {"path": "/proc/store"}}}),
        ("missing.flow", {"config": "demo"}),
        (OURS, {"config": "prod"}),
        (OURS, {"config": "demo", "overrides": ["store"]}),
        (OURS, {"config": "demo", "overrides": None}),
        (OURS, {"config": 3}),
    ],
)
def test_parameters_that_name_no_config_of_ours_say_nothing_about_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entrypoint: str, parameters: dict[str, Any]
) -> None:
    (tmp_path / "own.py").write_text(
        "import prefect\n\n@prefect.flow\ndef flow(config, overrides=None):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = DeploymentEntry(name="own", entrypoint=entrypoint, parameters=parameters)
    assert list(find_place_warnings([entry])) == []


def test_a_place_that_cannot_be_looked_at_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_given: object) -> None:
        raise OSError(errno.ESTALE, "stale file handle", "/mnt/store")

    monkeypatch.setattr("flows.deployments.places.find_place_faults", fail)
    entry = DeploymentEntry(name="nightly", entrypoint=OURS, parameters={"config": "demo"})
    (warning,) = find_place_warnings([entry])
    assert (warning.key, warning.severity) == ("nightly: /mnt/store", "warning")


def test_the_shipped_deployments_have_no_such_places() -> None:
    assert list(find_place_warnings(read_deployments(ROOT / "prefect.yaml"))) == []
