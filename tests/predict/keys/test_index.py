"""Keys are found where they were first, whether they are in memory or in a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tasks.load.row_keys import Keys
from tasks.predict.keys import partitions
from tasks.predict.keys.index import UNKNOWN, KeyIndex, find_repeated

KINDS = {"in memory": 1 << 21, "in a file": 300}


@pytest.fixture(params=KINDS)
def _place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "MOST_IN_MEMORY", KINDS[request.param])


def draw(sizes: list[int], seed: int) -> list[Keys]:
    """Return keys of sources, of which some are equal, and some in their first half only."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 1 << 64, (max(1, sum(sizes) // 2), 2), np.uint64)
    pool[: len(pool) // 10, 0] = pool[0, 0]
    return [pool[rng.integers(0, len(pool), size)] for size in sizes]


@pytest.mark.usefixtures("_place")
@pytest.mark.parametrize(
    "sizes", [[], [0], [1], [64], [0, 3, 0], [63, 1, 64, 129], [4097], [500] * 20], ids=str
)
def test_a_key_is_found_in_the_first_source_that_has_its_first_half(
    tmp_path: Path, sizes: list[int]
) -> None:
    sources, (others,) = draw(sizes, 1), draw([200], 2)
    first: dict[int, tuple[tuple[int, int], int]] = {}
    for number, keys in enumerate(sources):
        for position, (high, low) in enumerate(keys.tolist()):
            first.setdefault(high, ((number, position), low))
    asked = np.concatenate([np.empty((0, 2), np.uint64), *sources[::-1], others])
    found = KeyIndex(sources, tmp_path).find(asked).tolist()
    for (high, low), place in zip(asked.tolist(), found, strict=True):
        known, its_low = first.get(high, ((UNKNOWN, UNKNOWN), low))
        assert tuple(place) == (known if its_low == low else (UNKNOWN, UNKNOWN))
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("_place")
@pytest.mark.parametrize("size", [0, 1, 2, 5000])
def test_the_halves_of_keys_that_occur_more_than_once_are_found(tmp_path: Path, size: int) -> None:
    (keys,) = draw([size], 3)
    times = Counter(keys[:, 0].tolist())
    expected = sorted(half for half, count in times.items() if count > 1)
    assert find_repeated(keys, tmp_path).tolist() == expected
