from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.batch import plan_batches
from tasks.predict.shards import has_shards, plan_shards

LENGTHS = st.lists(st.integers(1, 600), max_size=200)


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_shards_cover_every_row_once_and_in_order(rows: int, rows_per_shard: int) -> None:
    shards = plan_shards(rows, rows_per_shard)
    assert [row for shard in shards for row in range(shard.start, shard.stop)] == list(range(rows))
    assert all(1 <= shard.rows <= rows_per_shard for shard in shards)
    assert all(shard.rows == rows_per_shard for shard in shards[:-1])
    assert all(shard.count == len(shards) for shard in shards)
    assert len({shard.file_name for shard in shards}) == len(shards)


@given(LENGTHS, st.integers(1, 32), st.integers(1, 4096))
def test_batches_hold_every_row_once_within_both_limits(
    lengths: list[int], batch_size: int, max_tokens: int
) -> None:
    batches = plan_batches(lengths, batch_size, max_tokens)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        padded = len(batch) * max(lengths[position] for position in batch)
        assert padded <= max_tokens or len(batch) == 1


@given(LENGTHS)
def test_no_row_of_a_batch_is_longer_than_a_row_of_an_earlier_batch(lengths: list[int]) -> None:
    ordered = [lengths[position] for batch in plan_batches(lengths, 4, 4096) for position in batch]
    assert ordered == sorted(lengths, reverse=True)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], False),
        (["shard-00000-of-00002.parquet", "evaluation.parquet"], False),  # never committed
        (["shard-00001-of-00002.json"], True),
    ],
)
def test_a_folder_has_shards_when_it_has_a_manifest_of_one(
    tmp_path: Path, names: list[str], expected: bool
) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert has_shards(tmp_path) == expected
    assert not has_shards(tmp_path / "missing")
