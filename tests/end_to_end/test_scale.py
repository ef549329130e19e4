"""The simulation of docs/cluster.md runs, and all that it simulates has every row."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scale import simulate


@pytest.mark.parametrize("without_rows", [False, True])
def test_a_small_simulation_has_every_part(tmp_path: Path, without_rows: bool) -> None:
    meter = simulate(tmp_path, 9000, single_file=False, without_rows=without_rows)
    told = {part["part"] for part in meter.parts}
    assert {"plan", "shards, claims, journal", "check rows"} <= told
    assert ("quality" in told) != without_rows
    assert all(part["peak_mb"] > 0 for part in meter.parts)
