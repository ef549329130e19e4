"""What `wenti serve` and `wenti doctor` say about the places that deployments write to."""

from __future__ import annotations

from pathlib import Path

from flows.cli.tables.doctor import can_run, check_deployments
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


def test_the_shipped_deployments_have_no_such_places() -> None:
    assert list(find_place_warnings(read_deployments(ROOT / "prefect.yaml"))) == []
