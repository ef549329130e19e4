"""How many places fit on a node, and what a place takes."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.cluster.messages import Node, PlaceNeeds
from tasks.config.sections.cluster import ClusterSettings

GIB = 2.0**30


@pytest.mark.parametrize(
    ("needs", "node", "places"),
    [
        (PlaceNeeds({"CPU": 4}), {"CPU": 15}, 3),
        (PlaceNeeds({"CPU": 4}), {"memory": GIB}, 0),
        (PlaceNeeds({"CPU": 1, "GPU": 1}), {"CPU": 64, "GPU": 8}, 8),
        (PlaceNeeds({"CPU": 1, "GPU": 0.1}), {"CPU": 64, "GPU": 1}, 10),
        (PlaceNeeds({"CPU": 1, "GPU": 1}), {"CPU": 2, "GPU": 8}, 2),
        (PlaceNeeds({"CPU": 1, "memory": 30 * GIB}), {"CPU": 8, "memory": 64 * GIB}, 2),
        (PlaceNeeds({"GPU": 1}, "A100"), {"GPU": 4, "accelerator_type:A100": 1}, 4),
        (PlaceNeeds({"GPU": 1}, "A100"), {"GPU": 4, "accelerator_type:T4": 1}, 0),
        (PlaceNeeds({"CPU": 1, "blue": 1}), {"CPU": 8}, 0),
    ],
)
def test_a_node_has_room_for_as_many_places_as_all_its_resources_allow(
    needs: PlaceNeeds, node: dict[str, float], places: int
) -> None:
    assert needs.count_on(node) == places


@pytest.mark.parametrize(
    ("kind", "settings", "cpus", "needs"),
    [
        ("cpu", {}, [8, 32], {"CPU": 10}),
        ("cpu", {}, [2, 4], {"CPU": 4}),
        ("cpu", {}, [], {"CPU": 10}),
        ("cpu", {"resources": {"CPU": 2.0, "blue": 1.0}}, [32], {"CPU": 2, "blue": 1}),
        ("gpu", {"gpus_per_place": 0.5}, [32], {"CPU": 1, "GPU": 0.5}),
        ("gpu", {"resources": {"CPU": 6.0}}, [32], {"CPU": 6, "GPU": 1}),
    ],
)
def test_a_place_takes_what_is_set_and_else_its_threads_as_far_as_a_node_has_them(
    kind: str, settings: dict[str, Any], cpus: list[float], needs: dict[str, float]
) -> None:
    nodes = [Node(str(at), f"node {at}", {"CPU": count}) for at, count in enumerate(cpus)]
    assert PlaceNeeds.find(ClusterSettings(**settings), kind, 10, nodes).resources == needs
