"""Batches of rows are bounded by text as well as by rows."""

from __future__ import annotations

from itertools import chain, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import StoreCorruptionError
from tasks.store import tables
from tasks.store.tables import (
    REJECTS,
    commit_table,
    count_characters,
    make_batches,
    read_batches,
    read_schema,
    sort_rows,
)

SIZES = st.lists(st.integers(0, 40), max_size=40)


def record(row: int, size: int) -> dict[str, object]:
    return {"row": row, "line": None, "id": None, "reason": "", "detail": "长" * size}


@given(SIZES, st.integers(1, 9) | st.none(), st.integers(1, 60))
def test_batches_have_every_record_once_within_both_limits(
    sizes: list[int], most_rows: int | None, most_characters: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "CHARACTERS_PER_BATCH", most_characters)
        records = [record(row, size) for row, size in enumerate(sizes)]
        batches = list(make_batches(records, REJECTS, most_rows))
    assert [row for batch in batches for row in batch.to_pylist()] == records
    for batch in batches:
        assert 1 <= batch.num_rows <= (most_rows or len(sizes))
        text = sum(len(row["detail"]) for row in batch.to_pylist())
        assert text <= most_characters or batch.num_rows == 1
    for before, after in pairwise(batches):  # none ends too early
        first = len(after.to_pylist()[0]["detail"])
        text = sum(len(row["detail"]) for row in before.to_pylist()) + first
        assert before.num_rows == most_rows or text > most_characters


@given(st.lists(st.integers(0, 99), unique=True, max_size=20), st.integers(1, 400))
def test_a_table_that_is_sorted_in_parts_is_sorted(rows: list[int], most_bytes: int) -> None:
    table = pa.Table.from_pylist([record(row, row) for row in rows], REJECTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BYTES_PER_SORT", most_bytes)
        found = sort_rows(table, "row")
    assert found.to_pylist() == [record(row, row) for row in sorted(rows)]
    assert all(len(set(chunk)) * 4 <= most_bytes or len(chunk) < 2 for chunk in found["row"].chunks)


@pytest.mark.parametrize(
    ("value", "characters"),
    [
        ("长江", 2),
        (None, 0),
        (7, 0),
        ([1, 2, 3], 0),
        ([], 0),
        (["a", None, "bc"], 3),
        ({"question": "abc", "score": 0.5, "others": [{"question": "d"}]}, 4),
    ],
)
def test_characters_are_those_of_all_strings(value: object, characters: int) -> None:
    assert count_characters(value) == characters


@settings(max_examples=20)
@given(st.lists(st.integers(1, 5), max_size=12))
def test_a_batch_that_is_read_has_rows_of_few_row_groups(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int]
) -> None:
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    rows = [[record(group, 1)] * count for group, count in enumerate(groups)]
    commit_table(path, REJECTS, [pa.RecordBatch.from_pylist(some, REJECTS) for some in rows])
    assert pq.read_metadata(path).num_row_groups == len(groups)
    batches = [batch["row"].to_pylist() for batch in read_batches(path, ["row"])]
    assert list(chain.from_iterable(batches)) == [one["row"] for some in rows for one in some]
    assert all(len(set(batch)) <= tables.GROUPS_PER_BATCH for batch in batches)


def test_of_a_table_only_the_columns_that_are_asked_for_are_read(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    batch = pa.RecordBatch.from_pylist([record(row, 50) for row in range(9)], REJECTS)
    commit_table(path, REJECTS, [batch])
    column = pq.read_metadata(path).row_group(0).column(4)
    damaged = bytearray(path.read_bytes())
    damaged[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(damaged)
    (read,) = read_batches(path, ["row"])
    assert read["row"].to_pylist() == list(range(9))


@pytest.mark.parametrize("content", [None, b"", b"PAR1 damaged PAR1"])
def test_a_table_without_a_schema_that_can_be_read_is_told_as_such(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "table.parquet"
    if content is not None:
        path.write_bytes(content)
    for read in (read_schema, lambda place: list(read_batches(place))):
        with pytest.raises(StoreCorruptionError, match=f"{path} cannot be read"):
            read(path)
