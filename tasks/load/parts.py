"""The files of a dataset: accepted rows in Parquet parts, and the rejects.

The number of parts is known only at the end, so they are written under temporary names in a staging
folder and renamed when all of them exist.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePath
from typing import Any, Self

import numpy as np
import pyarrow as pa

from tasks.engine.tokenization.wordpiece import Ids
from tasks.load.encoding import Encoded
from tasks.passages.records import Passage, Reject
from tasks.store.files import adopt_file
from tasks.store.manifest import Details, Manifest
from tasks.store.storage import FileEntry
from tasks.store.tables import (
    CHARACTERS_PER_BATCH,
    DATASET,
    REJECTS,
    REJECTS_OF_FILES,
    commit_table,
    count_characters,
    make_batches,
    read_batches,
)

ROWS_PER_PART = 8192
CHARACTERS_PER_PART = CHARACTERS_PER_BATCH
REJECTS_FILE = "rejects.parquet"
MULTILINE_SHOWN = 5


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
        cut: number of accepted rows by what was cut off (`tasks.load.encoding.Cut`).
        unknown_tokens: number of tokens that are [UNK].
        unknown_rows: number of rows with such tokens.
        multiline_rows: number of rows of CSV, rejected ones too, that have several lines.
        multiline_at: first and last line of the first `MULTILINE_SHOWN` of them; and the file, if
            there are several.
        file_rows: name of each file that has rows and the number of them, in order, if there are
            several.

    Older versions did not count from `cut` on; None means unknown.
    """

    rows_in: int
    rows: int
    rejects: int
    tokens: int
    longest: int
    part_rows: list[int]
    reject_reasons: dict[str, int]
    cut: dict[str, int] | None = None
    unknown_tokens: int | None = None
    unknown_rows: int | None = None
    multiline_rows: int | None = None
    multiline_at: list[tuple[int, int] | tuple[int, int, str]] | None = None
    file_rows: list[tuple[str, int]] | None = None

    @property
    def cut_rows(self) -> int | None:
        """The number of accepted rows of which anything was cut off; None if it is unknown."""
        return None if self.cut is None else sum(self.cut.values())

    @property
    def rejects_schema(self) -> pa.Schema:
        """The schema of the rejects: `REJECTS`, or if there are several files, with their names."""
        return REJECTS if self.file_rows is None else REJECTS_OF_FILES

    def with_files(self, rejects: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield rejects, in input order, with the name of the `file` of each if there are several.

        A reject that names its file keeps it.
        """
        rows = self.file_rows or []
        ends = list(accumulate(count for _, count in rows))
        for reject in rejects:
            yield {"file": rows[bisect(ends, reject["row"])][0], **reject} if rows else reject


@dataclass(frozen=True)
class StagedPart:
    """A part of a dataset that is still being loaded: its file in a folder, and its rows."""

    folder: Path
    entry: FileEntry
    rows: int


Tell = Callable[[StagedPart], None]


class PartWriter:
    """Writes accepted rows and rejects to numbered files in a staging folder, and counts them.

    A thread writes one file while rows of the next one are added. `tell` is called, in that thread,
    with each part that is complete before the last row is added.
    """

    def __init__(self, staging: Path, tell: Tell | None = None) -> None:
        self._tell = tell
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, Reject] = {}  # the first of each reason
        self._staging = staging
        self._thread = ThreadPoolExecutor(1, "write parts")
        self._writing: Future[FileEntry] | None = None
        self._parts: list[Path] = []
        self._part_rows: list[int] = []
        self._reject_files: list[Path] = []
        self._rows: list[tuple[Passage, Encoded]] = []
        self._rejects: list[Reject] = []
        self._characters = self._reject_characters = self._tokens = self._longest = 0
        self._cut: Counter[str] = Counter()
        self._unknown_tokens = self._unknown_rows = 0
        self._multiline_rows = 0
        self._multiline_at = list[tuple[int, int] | tuple[int, int, str]]()
        self._file_rows: Counter[str] = Counter()  # in the order of the files

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.shutdown()  # the staging folder is removed next

    @property
    def rows(self) -> int:
        """The number of accepted rows."""
        return sum(self._part_rows) + len(self._rows)

    def add(self, passage: Passage, encoded: Encoded) -> None:
        """Add an accepted row."""
        self._count(passage)
        self._rows.append((passage, encoded))
        texts = [passage.id, passage.context, passage.answer, passage.reference]
        self._characters += count_characters(texts)
        self._tokens += len(encoded.input_ids)
        self._longest = max(self._longest, len(encoded.input_ids))
        self._unknown_tokens += encoded.unknown_tokens
        self._unknown_rows += encoded.unknown_tokens > 0
        if encoded.cut is not None:
            self._cut[encoded.cut.value] += 1
        if len(self._rows) >= ROWS_PER_PART or self._characters >= CHARACTERS_PER_PART:
            self._flush_rows()

    def reject(self, reject: Reject) -> None:
        """Add a row that cannot be used."""
        self._count(reject)
        self.reasons[reject.reason.value] += 1
        self.examples.setdefault(reject.reason.value, reject)
        self._rejects.append(reject)
        self._reject_characters += count_characters([reject.id, reject.detail])
        if len(self._rejects) >= ROWS_PER_PART or self._reject_characters >= CHARACTERS_PER_PART:
            self._flush_rejects()

    def publish(self, folder: PurePath, group: int | None = None) -> tuple[FileEntry, ...]:
        """Move the files into `folder` under their final names.

        Args:
            folder: of the dataset.
            group: the number of the group of files that the rows are from; None: there is one.

        Returns:
            The files of the manifest: the parts in order, then the rejects.
        """
        self._tell = None  # the parts leave the staging folder now
        self._flush_rows()
        self._flush_rejects()
        self._wait()
        batches = (batch for path in self._reject_files for batch in read_batches(path))
        schema = self.details().rejects_schema
        count, of_group = len(self._parts), "" if group is None else f"-{group:05d}"
        rejects = commit_table(folder / REJECTS_FILE.replace(".", f"{of_group}."), schema, batches)
        of_all = f"-of-{count:05d}" if group is None else ""
        parts = [
            adopt_file(path, folder / f"part{of_group}-{number:05d}{of_all}.parquet")
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
            cut=dict(sorted(self._cut.items())),
            unknown_tokens=self._unknown_tokens,
            unknown_rows=self._unknown_rows,
            multiline_rows=self._multiline_rows,
            multiline_at=list(self._multiline_at),
            **({"file_rows": list(self._file_rows.items())} if self._file_rows else {}),
        )

    def _count(self, row: Passage | Reject) -> None:
        """Count what is said of all rows, accepted or not."""
        if row.file is not None:
            self._file_rows[row.file] += 1
        if row.line is not None and row.last_line is not None:
            self._multiline_rows += 1
            if len(self._multiline_at) < MULTILINE_SHOWN:
                lines = row.line, row.last_line
                self._multiline_at.append(lines if row.file is None else (*lines, row.file))

    def _flush_rows(self) -> None:
        if self._rows:
            path = self._staging / f"part-{len(self._parts):05d}.parquet"
            self._wait()
            batch = _as_batch(self._rows)
            self._writing = self._thread.submit(self._write_part, path, batch, self._tell)
            self._parts.append(path)
            self._part_rows.append(len(self._rows))
            self._rows, self._characters = [], 0

    def _flush_rejects(self) -> None:
        if self._rejects:
            path = self._staging / f"rejects-{len(self._reject_files):05d}.parquet"
            records = [{**vars(reject), "reason": reject.reason.value} for reject in self._rejects]
            schema = REJECTS_OF_FILES if self._file_rows else REJECTS
            self._write(path, schema, make_batches(records, schema))
            self._reject_files.append(path)
            self._rejects, self._reject_characters = [], 0

    @staticmethod
    def _write_part(path: Path, batch: pa.RecordBatch, tell: Tell | None) -> FileEntry:
        entry = commit_table(path, DATASET, [batch])
        if tell is not None:
            tell(StagedPart(path.parent, entry, batch.num_rows))
        return entry

    def _write(self, path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        self._wait()
        self._writing = self._thread.submit(commit_table, path, schema, batches)

    def _wait(self) -> None:
        """Wait until the last file is written; raise what went wrong with it."""
        if self._writing is not None:
            self._writing.result()


def has_losses(dataset: Manifest) -> bool:
    """Return whether a dataset has the columns `tasks.store.tables.LOSSES`; old ones lack them."""
    return DatasetDetails.of(dataset).cut is not None


def _as_batch(rows: Sequence[tuple[Passage, Encoded]]) -> pa.RecordBatch:
    texts = ("row", "id", "context", "answer", "reference")
    tokens = ("input_ids", "token_type_ids")
    sizes = np.array([len(encoded.input_ids) for _, encoded in rows], np.int32)
    columns: dict[str, Any] = {
        **{name: [getattr(passage, name) for passage, _ in rows] for name in texts},
        **{name: _as_lists([getattr(one, name) for _, one in rows], sizes) for name in tokens},
        "seq_len": sizes,
        "cut": [encoded.cut for _, encoded in rows],
        "unknown_tokens": [encoded.unknown_tokens for _, encoded in rows],
    }
    return pa.RecordBatch.from_pydict(columns, DATASET)


def _as_lists(arrays: Sequence[Ids], sizes: Ids) -> pa.ListArray:
    offsets = np.concatenate(([0], np.cumsum(sizes)), dtype=np.int32, casting="unsafe")
    return pa.ListArray.from_arrays(offsets, np.concatenate(arrays))
