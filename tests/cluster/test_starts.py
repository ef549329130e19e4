"""When a driver asks for another place after one that did not start, and when it gives up."""

from __future__ import annotations

import pytest

from tasks.cluster.starts import MOST_FAULTY, PAUSE_SECONDS, Starts
from tasks.errors import ClusterError


def test_places_that_fail_together_count_once_and_a_place_that_is_up_starts_the_count_anew() -> (
    None
):
    starts, now = Starts(), 100.0
    assert starts.may_ask(now)
    for _ in range(MOST_FAULTY - 1):
        for place in range(8):
            starts.fail(f"place {place}", now + place / 10)
        assert not starts.may_ask(now + 1)
        now += PAUSE_SECONDS
        assert starts.may_ask(now)
    starts.require_hope()
    starts.succeed()
    starts.fail("again", now)
    starts.require_hope()
    for _ in range(MOST_FAULTY - 1):
        now += PAUSE_SECONDS
        starts.fail("again", now)
    with pytest.raises(ClusterError, match=": again; "):
        starts.require_hope()
