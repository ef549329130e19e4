"""The load stage: passages in, tokens in Parquet parts out, every row accounted for.

`load_passages` runs in a child process, because it needs PaddleNLP. It writes the parts under
private names and renames them once their number is known; the manifest comes last.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tasks.engine.tokenizer import Encoded, QuestionTokenizer, read_named_passages
from tasks.errors import InputError, StoreCorruptionError, storage_faults
from tasks.passage_files import read_passages
from tasks.passages import Passage, Reject, parse_record
from tasks.store import MANIFEST, FileEntry, Manifest, commit_manifest, file_sha256
from tasks.tables import DATASET, REJECTS, commit_table, read_batches

ROWS_PER_PART = 8192
CHARACTERS_PER_PART = 1 << 26  # long passages end a part earlier: what a part needs in memory
REJECTS_FILE = "rejects.parquet"


@dataclass(frozen=True)
class LoadRequest:
    """All that the load stage needs to know; can be pickled."""

    folder: Path  # of the dataset checkpoint
    fingerprint: str
    decided_by: Mapping[str, object]
    model_folder: Path
    predict_file: Path | None  # None: the named data set
    dataset_name: str
    template: int
    max_seq_len: int
    max_title_len: int
    on_bad_row: Literal["reject", "fail"]
    input_sha256: str | None = None  # of predict_file, where the fingerprint was made from it


@dataclass(frozen=True)
class LoadReport:
    """What was loaded: rows_in = rows + rejects; tokens is the sum of seq_len."""

    rows_in: int
    rows: int
    rejects: int
    tokens: int
    longest: int
    part_rows: tuple[int, ...]
    reject_reasons: Mapping[str, int]


def load_passages(request: LoadRequest) -> LoadReport:
    """Make the dataset checkpoint: `part-*.parquet`, `rejects.parquet`, `manifest.json`.

    The tables have the schemas `DATASET` and `REJECTS`; all files are byte-identical when made
    again. Two processes may make the same checkpoint at the same time.

    Raises:
        InputError: the input cannot be read, has no usable row, has a bad row while `on_bad_row`
            is `fail`, or changed meanwhile. Nothing is left behind.
        CheckpointError: the model folder has no usable vocabulary.
        StorageError: the folder cannot be written.
    """
    tokenizer = QuestionTokenizer(
        request.model_folder, request.template, request.max_seq_len, request.max_title_len
    )
    with _staging(request.folder) as staging:
        writer = _Writer(staging)
        for row in encode_rows(_read(request), tokenizer, request.on_bad_row):
            writer.add(row)
        writer.flush()
        if not writer.parts:
            raise _none_accepted(writer)
        _check_unchanged(request)
        manifest = Manifest(
            kind="dataset",
            fingerprint=request.fingerprint,
            decided_by=dict(request.decided_by),
            files=writer.publish(request.folder),
            details=writer.details(),
        )
        commit_manifest(request.folder / MANIFEST, manifest)
    return report_of(manifest)


def report_of(manifest: Manifest) -> LoadReport:
    """Give the report of a dataset checkpoint from its manifest, as when it was made."""
    details = manifest.details
    return LoadReport(**{**details, "part_rows": tuple(details["part_rows"])})


def encode_rows(
    rows: Iterable[Passage | Reject], tokenizer: QuestionTokenizer, on_bad_row: str
) -> Iterator[tuple[Passage, Encoded] | Reject]:
    """Tokenise lazily, one row at a time.

    Raises:
        InputError: a row is bad and `on_bad_row` is `fail`.
    """
    for row in rows:
        encoded = row if isinstance(row, Reject) else tokenizer.encode(row)
        if isinstance(encoded, Reject):
            if on_bad_row == "fail":
                raise InputError(
                    f"{_describe(encoded)}; repair it, or set `dataset.on_bad_row` to reject"
                )
            yield encoded
        elif isinstance(row, Passage):
            yield row, encoded


def read_rows(
    folder: Path, manifest: Manifest, start: int, stop: int, columns: list[str] | None = None
) -> pa.Table:
    """Give the accepted rows from number `start` up to `stop`, counted from 0 without rejects.

    Only the parts that hold them are read. Columns as in `DATASET`, all of them or those asked for.

    Raises:
        ValueError: the checkpoint does not have these rows.
        StoreCorruptionError: a part cannot be read or has another number of rows.
    """
    counts = manifest.details["part_rows"]
    names = columns or DATASET.names
    if not 0 <= start <= stop <= sum(counts):
        raise ValueError(f"rows {start} to {stop} of {sum(counts)}")
    tables = [pa.schema([DATASET.field(name) for name in names]).empty_table()]
    for entry, count, end in zip(manifest.files, counts, accumulate(counts), strict=False):
        first = end - count
        if first < stop and start < end:
            table = _read_part(folder / entry.name, count, names)
            offset = max(start - first, 0)
            tables.append(table.slice(offset, min(stop, end) - first - offset))
    return pa.concat_tables(tables)


def iterate_rows(
    folder: Path, manifest: Manifest, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Give all accepted rows in order, piece by piece; see `read_rows`."""
    for entry, count in zip(manifest.files, manifest.details["part_rows"], strict=False):
        part = _read_part(folder / entry.name, count, columns or DATASET.names)
        yield from part.to_batches()


def _read_part(path: Path, rows: int, columns: list[str]) -> pa.Table:
    batches = list(read_batches(path, columns))
    table = pa.Table.from_batches(batches, schema=None if batches else DATASET)
    if table.num_rows != rows:
        raise StoreCorruptionError(f"{path} has {table.num_rows} rows, its manifest says {rows}")
    return table.select(columns)


def _read(request: LoadRequest) -> Iterator[Passage | Reject]:
    if request.predict_file is not None:
        yield from read_passages(request.predict_file, request.template)
        return
    for row, record in enumerate(read_named_passages(request.dataset_name)):
        yield parse_record(record, row, None, request.template)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Name a private folder, made by the first write; it and empty new folders do not stay."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    staging = folder / f".staging-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for one in missing:
            with suppress(OSError):  # not empty, or another process was faster
                one.rmdir()


class _Writer:
    """Writes rows and rejects to numbered files in the staging folder, and counts them."""

    def __init__(self, staging: Path) -> None:
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, Reject] = {}  # the first of each reason
        self.parts: list[FileEntry] = []
        self._staging = staging
        self._part_rows: list[int] = []
        self._reject_files: list[Path] = []
        self._rows: list[tuple[Passage, Encoded]] = []
        self._rejects: list[Reject] = []
        self._characters = self._tokens = self._longest = 0

    def add(self, row: tuple[Passage, Encoded] | Reject) -> None:
        if isinstance(row, Reject):
            self.reasons[row.reason.value] += 1
            self.examples.setdefault(row.reason.value, row)
            self._rejects.append(row)
        else:
            self._rows.append(row)
            self._characters += len(row[0].context) + len(row[0].answer)
            self._tokens += len(row[1].input_ids)
            self._longest = max(self._longest, len(row[1].input_ids))
        if len(self._rows) >= ROWS_PER_PART or self._characters >= CHARACTERS_PER_PART:
            self._flush_rows()
        if len(self._rejects) >= ROWS_PER_PART:
            self._flush_rejects()

    def flush(self) -> None:
        """Write what is still in memory."""
        if self._rows:
            self._flush_rows()
        if self._rejects:
            self._flush_rejects()

    def details(self) -> dict[str, Any]:
        """Give the fields of `LoadReport` as JSON types."""
        rejects = self.reasons.total()
        return {
            "rows_in": sum(self._part_rows) + rejects,
            "rows": sum(self._part_rows),
            "rejects": rejects,
            "tokens": self._tokens,
            "longest": self._longest,
            "part_rows": list(self._part_rows),
            "reject_reasons": dict(self.reasons),
        }

    def publish(self, folder: Path) -> tuple[FileEntry, ...]:
        """Give the files their names in `folder`, which are whole from the first moment."""
        batches = (batch for path in self._reject_files for batch in read_batches(path))
        rejects = commit_table(folder / REJECTS_FILE, REJECTS, batches)
        entries = []
        with storage_faults(folder, "store.path"):
            for number, entry in enumerate(self.parts):
                name = f"part-{number:05d}-of-{len(self.parts):05d}.parquet"
                (self._staging / entry.name).replace(folder / name)
                entries.append(entry.model_copy(update={"name": name}))
            _fsync_folder(folder)
        return (*entries, rejects)

    def _flush_rows(self) -> None:
        path = self._staging / f"part-{len(self.parts):05d}.parquet"
        self.parts.append(commit_table(path, DATASET, [_dataset_batch(self._rows)]))
        self._part_rows.append(len(self._rows))
        self._rows, self._characters = [], 0

    def _flush_rejects(self) -> None:
        path = self._staging / f"rejects-{len(self._reject_files):05d}.parquet"
        records = [{**vars(reject), "reason": reject.reason.value} for reject in self._rejects]
        commit_table(path, REJECTS, [pa.RecordBatch.from_pylist(records, schema=REJECTS)])
        self._reject_files.append(path)
        self._rejects = []


def _dataset_batch(rows: Sequence[tuple[Passage, Encoded]]) -> pa.RecordBatch:
    records = [
        {**vars(passage), **encoded._asdict(), "seq_len": len(encoded.input_ids)}
        for passage, encoded in rows
    ]
    return pa.RecordBatch.from_pylist(records, schema=DATASET)


def _none_accepted(writer: _Writer) -> InputError:
    if not writer.reasons:
        return InputError("the data set has no rows; give a file in `dataset.predict_file`")
    reason, count = writer.reasons.most_common(1)[0]
    return InputError(
        f"no row is usable: all {writer.reasons.total()} were rejected, {count} of them for"
        f" {reason}, such as {_describe(writer.examples[reason])}; repair the input"
    )


def _check_unchanged(request: LoadRequest) -> None:
    path, known = request.predict_file, request.input_sha256
    if path is not None and known is not None and file_sha256(path) != known:
        raise InputError(f"{path} changed while it was read; run again")


def _describe(reject: Reject) -> str:
    line = "" if reject.line is None else f", line {reject.line}"
    return f"row {reject.row}{line}: {reject.reason.value}: {reject.detail}"


def _fsync_folder(folder: Path) -> None:
    """Make the names in a folder last, before a manifest speaks of them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
