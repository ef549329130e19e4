from __future__ import annotations

import pytest

from tasks.aggregate.metrics import find_cost


def test_the_cost_is_that_of_the_hours_of_all_devices() -> None:
    devices = {"gpu:0": {"busy_seconds": 5400.0}, "gpu:1": {"busy_seconds": 1800.0}}
    assert find_cost(devices, 2.5) == pytest.approx(5.0)
    assert find_cost(devices, 0) == 0


def test_reused_shards_cost_nothing_and_without_a_price_there_is_no_cost() -> None:
    assert find_cost({}, 2.5) == 0
    assert find_cost({"cpu": {"busy_seconds": 9.0}}, None) is None
