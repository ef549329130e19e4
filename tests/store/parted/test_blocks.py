"""Blocks of a table have its rows, in the batches of `read_batches`."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tasks.errors import StoreCorruptionError
from tasks.store.parted import write
from tasks.store.parted.blocks import list_blocks, read_block
from tasks.store.parted.write import commit_in_form
from tasks.store.tables import read_batches

SCHEMA = pa.schema([pa.field("row", pa.int64()), pa.field("text", pa.string())])
GROUPS = [7, 1, 3, 3, 5, 2, 9]  # rows of row groups


def batches() -> list[pa.RecordBatch]:
    ends = [sum(GROUPS[: at + 1]) for at in range(len(GROUPS))]
    return [
        pa.RecordBatch.from_pylist([{"row": at, "text": str(at)} for at in rows], SCHEMA)
        for rows in (range(end - size, end) for size, end in zip(GROUPS, ends, strict=True))
    ]


@pytest.mark.parametrize("name", ["predictions.parquet", "predictions"])
def test_the_blocks_have_the_batches_of_the_table(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "ROWS_PER_PART", 13)
    table, columns = tmp_path / name, ["row"]
    commit_in_form(table, SCHEMA, batches())
    blocks = list(list_blocks(table))
    assert len(blocks) > 1
    found = [batch for block in blocks for batch in read_block(block, columns, 4)]
    assert found == list(read_batches(table, columns, 4))
    for block in blocks:
        rows = [row for batch in read_block(block, columns) for row in batch["row"].to_pylist()]
        assert rows == list(range(block.first, block.first + block.rows))


def test_blocks_can_be_smaller(tmp_path: Path) -> None:
    table = tmp_path / "predictions.parquet"
    commit_in_form(table, SCHEMA, batches())
    assert [block.rows for block in list_blocks(table, at_once=1)] == GROUPS
    found = [
        batch for block in list_blocks(table, at_once=1) for batch in read_block(block, ["row"])
    ]
    assert sum(len(batch) for batch in found) == sum(GROUPS)


def test_a_damaged_block_names_the_file_of_the_table(tmp_path: Path) -> None:
    table = tmp_path / "predictions.parquet"
    commit_in_form(table, SCHEMA, batches())
    (block, *_) = list_blocks(table)
    table.write_bytes(b"PAR1")
    with pytest.raises(StoreCorruptionError, match=r"predictions\.parquet cannot be read"):
        list(read_block(block, ["row"]))
