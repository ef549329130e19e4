"""Loading passages and reading the columns that are kept of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.columns.store import ColumnsDetails
from tasks.load.dataset import LoadRequest, load_columns, load_passages
from tasks.load.parts import DatasetDetails
from tasks.plan.plan import PlannedCheckpoint

TEXTS = {"context": "长江流经中国", "answer": "长江"}


def planned_request(
    request: LoadRequest, given: Path, asked: str | list[str] = "all"
) -> LoadRequest:
    folder = request.folder.parent.parent / "columns" / ("e" * 64)
    planned = PlannedCheckpoint(folder, "e" * 64, {"keep": asked})
    return replace(request, predict_file=given, keep_columns=asked, columns=planned)


def keep(
    request: LoadRequest, given: Path, asked: str | list[str] = "all", limit: int | None = None
) -> pa.Table:
    """Load passages and return the columns that are kept of all rows of the input."""
    request = replace(planned_request(request, given, asked), limit=limit)
    planned = request.columns
    assert planned is not None
    folder = planned.folder
    rows = DatasetDetails.of(load_passages(request)).rows_in
    found = planned.find().manifest
    assert found is not None
    details = ColumnsDetails.of(found)
    assert details.rows == rows
    files = {entry.name: (Path(folder) / entry.name).read_bytes() for entry in found.files}
    assert load_columns(request, planned, rows) == found  # as when the dataset is there already
    assert files == {entry.name: (Path(folder) / entry.name).read_bytes() for entry in found.files}
    if not found.files:
        return pa.table({})
    table = pq.read_table(folder / "columns.parquet")
    assert (table.num_rows, table.schema.names) == (rows, details.names)
    return table


def rows_of(*columns: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**TEXTS, **one} for one in columns]


def described(table: pa.Table, name: str) -> str:
    metadata: dict[bytes, bytes] = table.schema.field(name).metadata
    return metadata[b"description"].decode()
