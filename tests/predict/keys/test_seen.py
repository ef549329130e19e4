"""What was seen before is what a set of Python has."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.predict.keys.seen import SeenKeys

HALVES = st.lists(st.integers(0, 20) | st.integers(0, 2**64 - 1), max_size=12)


@given(st.lists(HALVES, max_size=20))
def test_what_was_added_before_is_seen(added: list[list[int]]) -> None:
    seen, before = SeenKeys(), set[int]()
    for halves in added:
        found = seen.add(np.array(halves, np.uint64))
        assert found.tolist() == [half in before for half in halves]
        before.update(halves)
