"""Blocks of a table: some row groups of a file, which any process can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath

import pyarrow as pa

from tasks.store.files import storage_of
from tasks.store.manifest import list_parts
from tasks.store.tables import GROUPS_PER_BATCH, MOST_ROWS, read_groups


@dataclass(frozen=True)
class Block:
    """Row groups of a file: those with the number `number`, if `at_once` are taken at a time.

    Attributes:
        place: of the file.
        file: what the storage has fetched of it, so that this is done once.
        number: of the block in the file, from 0.
        at_once: row groups of a block.
        first: the number of rows of the table before the block.
        rows: the number of its rows.
    """

    place: PurePath
    file: Path
    number: int
    at_once: int
    first: int
    rows: int


def list_blocks(table: PurePath, at_once: int = GROUPS_PER_BATCH) -> Iterator[Block]:
    """Yield the blocks of a table (`list_parts`), in order.

    Blocks of the default size have the batches that `tasks.store.tables.read_batches` yields.

    Raises:
        StoreCorruptionError: a file is missing, damaged or cannot be read.
    """
    first = 0
    for part in list_parts(table):
        file = storage_of(part.place).fetch(part.place)
        groups = read_groups(part.place, None, MOST_ROWS, at_once, file)
        for number, (rows, _) in enumerate(groups):
            yield Block(part.place, file, number, at_once, first, rows)
            first += rows


def read_block(
    block: Block, columns: Sequence[str] | None, most_rows: int = MOST_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of a block, as `tasks.store.tables.read_batches` does.

    Raises:
        StoreCorruptionError: the file is missing, damaged or cannot be read.
    """
    groups = read_groups(block.place, columns, most_rows, block.at_once, block.file)
    for _, batches in islice(groups, block.number, block.number + 1):
        yield from batches
