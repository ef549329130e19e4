from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows.deployments import as_deployment, read_deployments
from tasks.errors import ConfigError
from tests.support.rehearsal import ROOT

PREFECT_YAML = ROOT / "prefect.yaml"
FLOW = "flows.question_generation.rerun"


def test_prefect_can_use_every_deployment_of_ours() -> None:
    names = [one["name"] for one in yaml.safe_load(PREFECT_YAML.read_text())["deployments"]]
    deployments = [as_deployment(PREFECT_YAML, one) for one in read_deployments(PREFECT_YAML)]
    assert [one.name for one in deployments] == names
    nightly = deployments[names.index("nightly")]
    (schedule,) = nightly.schedules or []
    assert getattr(schedule.schedule, "cron", None) == "30 1 * * *"


def test_deployments_are_chosen_by_name_in_the_order_of_the_names() -> None:
    chosen = read_deployments(PREFECT_YAML, ["rerun", "demo"])
    assert [one["name"] for one in chosen] == ["rerun", "demo"]


@pytest.mark.parametrize(
    ("content", "names", "words"),
    [
        ("", [], "the file: it has no list of `deployments`"),
        ("[]", [], "the file: it has no list of `deployments`"),
        ("deployments:", [], "the file: it has no list of `deployments`"),
        ("deployments: {", [], "the file: while parsing"),
        (f"deployments: [{{entrypoint: {FLOW}}}]", [], "deployments[0]: it has no `name`"),
        ("deployments: [demo]", [], "deployments[0]: it has no `name`"),
        ("deployments: [{name: demo}]", [], "demo: it has no `entrypoint`"),
        ("deployments: [{name: demo}]", ["nightly"], "nightly: no such deployment; known: demo"),
    ],
)
def test_a_file_without_what_is_needed_is_refused_and_says_where(
    tmp_path: Path, content: str, names: list[str], words: str
) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_deployments(file, names)
    assert str(file) in str(caught.value)
    assert words in str(caught.value)


def test_a_deployment_that_is_not_served_may_lack_its_entrypoint(tmp_path: Path) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(f"deployments: [{{name: draft}}, {{name: rerun, entrypoint: {FLOW}}}]")
    assert [one["name"] for one in read_deployments(file, ["rerun"])] == ["rerun"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"entrypoint": "flows.nowhere.rerun"},
        {"entrypoint": "flows.question_generation.nothing"},
        {"schedules": [{"cronn": "30 1 * * *"}]},
        {"concurrency_limit": "many"},
    ],
)
def test_what_prefect_cannot_use_is_named_with_its_deployment(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="nightly: ") as caught:
        as_deployment(PREFECT_YAML, {"name": "nightly", "entrypoint": FLOW, **wrong})
    assert len(caught.value.faults) == 1
