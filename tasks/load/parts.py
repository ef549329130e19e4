"""The files of a dataset: accepted rows in Parquet parts, and the rejects.

The number of parts is known only at the end, so they are written under temporary names in a staging
folder and renamed when all of them exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path, PurePath

import pyarrow as pa

from tasks.errors import StoreCorruptionError
from tasks.load.encoding import Encoded
from tasks.passages.records import Passage, Reject
from tasks.store.files import adopt_file
from tasks.store.manifest import Details, Manifest
from tasks.store.storage import FileEntry
from tasks.store.tables import DATASET, REJECTS, commit_table, read_batches

ROWS_PER_PART = 8192
CHARACTERS_PER_PART = 1 << 26  # limits the memory that a part of long passages needs
REJECTS_FILE = "rejects.parquet"


class DatasetDetails(Details):
    """What a dataset's manifest says about its rows.

    Attributes:
        rows_in: rows of the input, `rows` + `rejects`.
        rows: accepted rows.
        rejects: rejected rows.
        tokens: sum of `seq_len`.
        longest: maximum of `seq_len`, 0 without rows.
        part_rows: number of rows of each part, in order.
        reject_reasons: number of rejects by reason.
    """

    rows_in: int
    rows: int
    rejects: int
    tokens: int
    longest: int
    part_rows: list[int]
    reject_reasons: dict[str, int]


class PartWriter:
    """Writes accepted rows and rejects to numbered files in a staging folder, and counts them."""

    def __init__(self, staging: Path) -> None:
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, Reject] = {}  # the first of each reason
        self._staging = staging
        self._parts: list[Path] = []
        self._part_rows: list[int] = []
        self._reject_files: list[Path] = []
        self._rows: list[tuple[Passage, Encoded]] = []
        self._rejects: list[Reject] = []
        self._characters = self._tokens = self._longest = 0

    @property
    def rows(self) -> int:
        """The number of accepted rows."""
        return sum(self._part_rows) + len(self._rows)

    def add(self, passage: Passage, encoded: Encoded) -> None:
        """Add an accepted row."""
        self._rows.append((passage, encoded))
        self._characters += len(passage.context) + len(passage.answer)
        self._tokens += len(encoded.input_ids)
        self._longest = max(self._longest, len(encoded.input_ids))
        if len(self._rows) >= ROWS_PER_PART or self._characters >= CHARACTERS_PER_PART:
            self._flush_rows()

    def reject(self, reject: Reject) -> None:
        """Add a row that cannot be used."""
        self.reasons[reject.reason.value] += 1
        self.examples.setdefault(reject.reason.value, reject)
        self._rejects.append(reject)
        if len(self._rejects) >= ROWS_PER_PART:
            self._flush_rejects()

    def publish(self, folder: PurePath) -> tuple[FileEntry, ...]:
        """Move the files into `folder` under their final names.

        Returns:
            The files of the manifest: the parts in order, then the rejects.
        """
        self._flush_rows()
        self._flush_rejects()
        batches = (batch for path in self._reject_files for batch in read_batches(path))
        rejects = commit_table(folder / REJECTS_FILE, REJECTS, batches)
        count = len(self._parts)
        parts = [
            adopt_file(path, folder / f"part-{number:05d}-of-{count:05d}.parquet")
            for number, path in enumerate(self._parts)
        ]
        return (*parts, rejects)

    def details(self) -> DatasetDetails:
        """Return the details for the manifest; call this after `publish`."""
        rejects = self.reasons.total()
        return DatasetDetails(
            rows_in=self.rows + rejects,
            rows=self.rows,
            rejects=rejects,
            tokens=self._tokens,
            longest=self._longest,
            part_rows=list(self._part_rows),
            reject_reasons=dict(sorted(self.reasons.items())),
        )

    def _flush_rows(self) -> None:
        if self._rows:
            path = self._staging / f"part-{len(self._parts):05d}.parquet"
            commit_table(path, DATASET, [_as_batch(self._rows)])
            self._parts.append(path)
            self._part_rows.append(len(self._rows))
            self._rows, self._characters = [], 0

    def _flush_rejects(self) -> None:
        if self._rejects:
            path = self._staging / f"rejects-{len(self._reject_files):05d}.parquet"
            records = [{**vars(reject), "reason": reject.reason.value} for reject in self._rejects]
            commit_table(path, REJECTS, [pa.RecordBatch.from_pylist(records, schema=REJECTS)])
            self._reject_files.append(path)
            self._rejects = []


def read_dataset_rows(folder: PurePath, dataset: Manifest, start: int, stop: int) -> pa.Table:
    """Return the accepted rows [start, stop), counted from 0 without rejects.

    The columns are those of `tasks.store.tables.DATASET`; only the parts with these rows are read.

    Raises:
        ValueError: the dataset does not have these rows.
        StoreCorruptionError: a part cannot be read, or does not have the rows of its manifest.
    """
    counts = DatasetDetails.of(dataset).part_rows
    if not 0 <= start <= stop <= sum(counts):
        raise ValueError(f"rows {start} to {stop} of {sum(counts)}")
    tables = [DATASET.empty_table()]
    # The files are the parts in order, then the rejects, which have no count.
    for entry, count, end in zip(dataset.files, counts, accumulate(counts), strict=False):
        first = end - count
        if first < stop and start < end:
            offset = max(start - first, 0)
            part = _read_part(folder / entry.name, count)
            tables.append(part.slice(offset, min(stop, end) - first - offset))
    return pa.concat_tables(tables)


def _read_part(path: PurePath, rows: int) -> pa.Table:
    table = pa.Table.from_batches(read_batches(path), schema=DATASET)
    if table.num_rows != rows:
        raise StoreCorruptionError(f"{path} has {table.num_rows} rows, its manifest says {rows}")
    return table


def _as_batch(rows: Sequence[tuple[Passage, Encoded]]) -> pa.RecordBatch:
    records = [
        {**vars(passage), **encoded._asdict(), "seq_len": len(encoded.input_ids)}
        for passage, encoded in rows
    ]
    return pa.RecordBatch.from_pylist(records, schema=DATASET)
