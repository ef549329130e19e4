"""What `wenti doctor` says of the nodes of a cluster, by what they have said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.cluster.messages import Node, PlaceNeeds
from tasks.config.settings import ClusterSettings, PredictSettings, Settings
from tasks.doctor.cluster import TOKEN, NodeSight, Survey, check_token, describe_survey
from tasks.errors import WentiError, WorkerError
from tasks.findings import Finding

OWN = NodeSight({"python": "3.11.7", "paddle": "paddlepaddle-gpu 2.6.2"}, ())
CARD = replace(OWN, gpus=("NVIDIA A100",))
GPU = Settings(predict=PredictSettings(executor="ray"), cluster=ClusterSettings())


def describe(sights: dict[str, NodeSight | WentiError], *missing: str) -> list[Finding]:
    """Return the findings for nodes with these names; those that are missing have not written."""
    nodes = tuple(Node(name, f"node-{name}", {"CPU": 4, "GPU": 1}) for name in sights)
    found = Survey(nodes, PlaceNeeds({"CPU": 1, "GPU": 1}), sights)
    return list(describe_survey(GPU, found, OWN, {*sights} - {*missing}))


def test_nodes_that_are_alike_and_see_the_store_are_in_order() -> None:
    (only,) = describe({"a": CARD, "b": CARD})
    assert only.severity == "ok"
    assert "2 nodes with room for 2 places" in only.problem


@pytest.mark.parametrize(
    ("sight", "key", "problem"),
    [
        (replace(CARD, versions={**OWN.versions, "paddle": "paddlepaddle 2.6.2"}), "node b",
         "paddle is paddlepaddle 2.6.2, here it is paddlepaddle-gpu 2.6.2"),
        (replace(CARD, store_fault="cannot read s3://b/store: there are no credentials"),
         "store.path", "node b: cannot read s3://b/store: there are no credentials"),
        (WorkerError("No module named 'tasks'"), "node b", "No module named"),
    ],
)  # fmt: skip
def test_what_would_give_other_results_or_none_is_a_fault(
    sight: NodeSight | WentiError, key: str, problem: str
) -> None:
    faults = [one for one in describe({"a": CARD, "b": sight}) if one.severity == "fault"]
    assert [fault.key.replace("node-", "") for fault in faults] == [key]
    assert problem.replace("node b", "node node-b") in faults[0].problem


def test_a_folder_that_only_has_the_same_name_is_not_the_store() -> None:
    faults = [one for one in describe({"a": CARD, "b": CARD}, "b") if one.severity == "fault"]
    assert [fault.key for fault in faults] == ["store.path"]


def test_unlike_gpus_and_a_cluster_without_a_token_are_worth_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    findings = describe({"a": CARD, "b": replace(OWN, gpus=("Tesla T4",))})
    (warning,) = [one for one in findings if one.severity == "warning"]
    assert "NVIDIA A100 on node-a; Tesla T4 on node-b" in warning.problem
    monkeypatch.delenv(TOKEN, raising=False)
    assert [check_token(nodes)[0].severity for nodes in (1, 2)] == ["ok", "warning"]
    monkeypatch.setenv(TOKEN, "token")
    assert check_token(2)[0].severity == "ok"
