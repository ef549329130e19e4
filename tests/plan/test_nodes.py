"""With whose Paddle a run is planned: that of this machine, or that of the nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.config.settings import ClusterSettings, PredictSettings, Settings
from tasks.engine.paddle.generations.generation import find_generation
from tasks.engine.paddle.installation import (
    describe_paddle,
    find_builds,
    find_packages,
    find_version,
    plan_with,
)
from tasks.plan.fingerprints import decide_export
from tasks.plan.nodes import PackagesOrder, plan_for_nodes
from tests.support.rehearsal import ROOT

NODES = {"paddlepaddle-gpu": "3.3.1", "paddlenlp": "3.0.0b4"}


@pytest.fixture
def planned() -> Iterator[None]:
    plan_with(NODES)
    find_generation.cache_clear()
    yield
    plan_with({})
    find_generation.cache_clear()


def settings_with(executor: str) -> Settings:
    predict = PredictSettings.model_validate({"executor": executor, "device": "cpu"})
    return Settings(predict=predict, cluster=ClusterSettings(address="127.0.0.1:1"))


def test_a_node_tells_what_it_has_whatever_it_plans_with(planned: None) -> None:
    told = PackagesOrder().start().work("packages", lambda _: None)
    assert told == find_packages()
    assert {"paddlepaddle", "paddlenlp"} <= told.keys()
    assert told.keys().isdisjoint({"paddlepaddle-gpu"})


def test_the_packages_of_the_nodes_decide_the_export(planned: None) -> None:
    assert describe_paddle() == "paddlepaddle-gpu 3.3.1"
    assert [build.has_cuda for build in find_builds()] == [True]
    assert find_generation().number == 3
    decided = decide_export(settings_with("ray"), ROOT / "data/checkpoint")
    assert decided["paddlepaddle"] == "paddlepaddle-gpu 3.3.1"
    assert decided["paddlenlp"] == "3.0.0b4"


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_machine_that_has_paddle_for_the_kind_of_device_plans_with_its_own(
    planned: None, executor: str
) -> None:
    assert not plan_for_nodes(settings_with(executor))  # nor is a cluster asked: there is none
    own = find_packages()
    assert describe_paddle() == f"paddlepaddle {own['paddlepaddle']}"
    assert find_version("paddlenlp") == own["paddlenlp"]
    assert find_generation().number == int(own["paddlepaddle"][0])
