from __future__ import annotations

import pyarrow as pa

from tasks.predict.workers.worker_process import make_rows
from tasks.store.tables import DATASET

TOKENS = ["input_ids", "token_type_ids"]
SCHEMA = pa.schema([DATASET.field(name) for name in TOKENS])


def test_only_sampling_gives_rows_numbers_and_equal_rows_equal_ones() -> None:
    rows = [{"input_ids": ids, "token_type_ids": [0, 1]} for ids in ([5, 2], [6, 2], [5, 2])]
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    first, second, third = (row.number for row in make_rows(batch, is_sampling=True))
    assert first == third != second
    assert min(first, second) > 0
    assert [row.number for row in make_rows(batch, is_sampling=False)] == [0, 0, 0]
    assert [list(row.input_ids) for row in make_rows(batch, is_sampling=False)] == [
        row["input_ids"] for row in rows
    ]
