from __future__ import annotations

from pathlib import Path, PurePath

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.batch import plan_batches
from tasks.errors import StoreCorruptionError
from tasks.predict import shards
from tasks.predict.jobs import look_up, look_up_all
from tasks.predict.shards import (
    RejectRow,
    Shard,
    ShardDetails,
    find_shard,
    has_shards,
    plan_shards,
    read_shard,
)
from tasks.store.manifest import Found, Manifest
from tasks.store.tables import SHARD, commit_table, make_batches
from tests.support.small_shards import plan_small_shards, predict, write_dataset

LENGTHS = st.lists(st.integers(1, 600), max_size=200)


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_shards_cover_every_row_once_and_in_order(rows: int, rows_per_shard: int) -> None:
    planned = plan_shards(rows, rows_per_shard)
    assert [row for shard in planned for row in range(shard.start, shard.stop)] == list(range(rows))
    assert all(1 <= shard.rows <= rows_per_shard for shard in planned)
    assert all(shard.rows == rows_per_shard for shard in planned[:-1])
    assert all(shard.count == len(planned) for shard in planned)
    assert len({shard.file_name for shard in planned}) == len(planned)


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


def test_shards_that_are_read_at_once_are_found_as_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_small_shards(tmp_path)
    jobs = [one.job for one in predict(plan, write_dataset(plan), failed=(1,)).outcomes]
    Path(plan.predictions.folder / jobs[3].shard.file_name).write_bytes(b"")
    one_by_one = [look_up(job) for job in jobs]
    asked = []

    def find(folder: PurePath, shard: Shard, fingerprint: str) -> Found:
        asked.append(shard.index)
        return find_shard(folder, shard, fingerprint)

    monkeypatch.setattr(shards, "find_shard", find)
    monkeypatch.setattr(shards, "FOUND_AT_A_TIME", 3)
    assert list(look_up_all(jobs)) == one_by_one
    assert [found.state for found in one_by_one] == ["made", "missing", "made", "damaged"]
    assert sorted(asked) == [0, 2, 3]  # and not what no listing has
    assert list(look_up_all([])) == []


def test_a_shard_with_more_text_than_an_array_can_hold_is_read_part_by_part(
    tmp_path: Path,
) -> None:
    rows = 33
    text = pa.array(["长" * (64 << 20 >> 1)])  # 96 MiB, which all parts share
    records = [
        {"row": row, "id": str(row), "question": "q", "output_ids": [1], "alternatives": []}
        for row in range(rows)
        if row != 5
    ]
    entry = commit_table(tmp_path / "shard.parquet", SHARD, make_batches(records, SHARD))
    reject = RejectRow(row=5, line=None, id="5", reason="timeout", detail="hung")
    counts = dict.fromkeys(("batches", "input_tokens", "padded_tokens", "output_tokens"), 1)
    details = ShardDetails(rows=rows - 1, rejects=[reject], **counts)
    manifest = Manifest(
        kind="shard", fingerprint="f", decided_by={}, files=(entry,), details=details.as_dict()
    )
    parts = (
        pa.table({"row": pa.array([row]), "id": [str(row)], "context": text}) for row in range(rows)
    )
    read, size = [], 0
    for shard, answered in read_shard(tmp_path, manifest, parts):
        assert shard["row"].to_pylist() == answered["row"].to_pylist()
        read += shard["row"].to_pylist()
        size += answered["context"].nbytes
    assert read == [row for row in range(rows) if row != 5]
    assert size > 1 << 31


@pytest.mark.parametrize("rows", [[0, 1, 3], [0, 1, 2, 3], [0, 1], []])
def test_a_shard_with_other_rows_than_its_dataset_is_damage(
    tmp_path: Path, rows: list[int]
) -> None:
    records = [
        {"row": row, "id": str(row), "question": "q", "output_ids": [1], "alternatives": []}
        for row in rows
    ]
    entry = commit_table(tmp_path / "shard.parquet", SHARD, make_batches(records, SHARD))
    counts = ("rows", "batches", "input_tokens", "padded_tokens", "output_tokens")
    details = {**dict.fromkeys(counts, 1), "rejects": []}
    manifest = Manifest(
        kind="shard", fingerprint="f", decided_by={}, files=(entry,), details=details
    )
    parts = [pa.table({"row": [row], "id": [str(row)]}) for row in range(3)]
    with pytest.raises(StoreCorruptionError, match=r"holds (other|more) rows than the dataset"):
        list(read_shard(tmp_path, manifest, parts))
