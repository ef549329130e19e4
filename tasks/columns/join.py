"""Putting the kept columns beside predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath

import numpy as np
import pyarrow as pa

from tasks.columns.source import OWN
from tasks.columns.store import COLUMNS_FILE
from tasks.errors import StoreCorruptionError
from tasks.plan.plan import Plan
from tasks.store.manifest import Manifest
from tasks.store.parted.blocks import list_blocks, read_block
from tasks.store.tables import read_schema


class KeptColumns:
    """The kept columns of all rows of the input.

    Args:
        folder: of the checkpoint.
        manifest: of the checkpoint, whose file is verified.
    """

    def __init__(self, folder: PurePath, manifest: Manifest) -> None:
        self._path = folder / COLUMNS_FILE
        self.schema = read_schema(self._path) if manifest.files else pa.schema([])

    def add_to(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield batches of rows in input order, which have `row`, with the kept columns as well.

        A batch can become several, because the kept columns are read in batches, too.

        Raises:
            StoreCorruptionError: a row is missing.
        """
        if not self.schema.names:
            yield from batches
            return
        first, kept = 0, pa.RecordBatch.from_pylist([], self.schema)
        others: Iterator[tuple[int, pa.RecordBatch]] = iter(())
        for batch in batches:
            left = batch
            while left.num_rows:
                rows = left["row"].to_numpy()
                if not first + kept.num_rows:
                    others = self._read_from(rows[0])
                while rows[0] >= first + kept.num_rows:
                    following = next(others, None)
                    if following is None:
                        raise StoreCorruptionError(f"{self._path} has no row {rows[0]}")
                    first, kept = following
                count = int(np.searchsorted(rows, first + kept.num_rows))
                beside = kept.take(pa.array(rows[:count] - first))
                yield _beside(left.slice(0, count), beside)
                left = left.slice(count)

    def _read_from(self, row: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the batches from the block that has a row on, with the number of rows before."""
        for block in list_blocks(self._path):
            first = block.first
            for batch in read_block(block, None) if row < first + block.rows else ():
                yield first, batch
                first += batch.num_rows


def find_columns(plan: Plan) -> KeptColumns | None:
    """Return the kept columns of a run, which its load stage has made; None if none are kept.

    Raises:
        StoreCorruptionError: they have been damaged since.
    """
    if plan.columns is None:
        return None
    found = plan.columns.find()
    if found.manifest is None:
        problem = found.damage or f"{plan.columns.folder} is missing"
        raise StoreCorruptionError(f"{problem}; run again, which makes it again")
    return KeptColumns(plan.columns.folder, found.manifest)


def own_columns(predictions: PurePath) -> list[str]:
    """Return the columns of a predictions.parquet that are not columns of the input."""
    return [name for name in read_schema(predictions).names if name in OWN]


def _beside(left: pa.RecordBatch, right: pa.RecordBatch) -> pa.RecordBatch:
    schema = pa.schema([*left.schema, *right.schema], left.schema.metadata)
    return pa.RecordBatch.from_arrays([*left.columns, *right.columns], schema=schema)
