"""Keys of rows: rows with equal keys get equal questions from the same model and options.

A key is a hash of the row's tokens, the vocabulary and the template, which together decide what a
model is given and how its output becomes text. The keys of a dataset are a checkpoint beside its
parts. The load stage makes them of the tokens that it has in memory; where they are missing or
damaged, they are made of the parts.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO, Self, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.engine.tokenization.wordpiece import Ids
from tasks.errors import StoreCorruptionError
from tasks.load.encoding import Encoded
from tasks.load.parts import DatasetDetails, StagedPart, Tell
from tasks.passages.records import Passage
from tasks.store.manifest import (
    Manifest,
    canonical_json,
    commit_manifest,
    find_checkpoint,
    fingerprint,
    verify_files,
)
from tasks.store.tables import commit_table, read_batches, split_lists
from tasks.system_errors import storage_faults

KEYS_FORMAT = 1
KEYS_FILE = "keys.parquet"
KEYS_MANIFEST = "keys.json"
KEY_BYTES = 16
STAGED, STAGED_BYTES = "keys", 8 + KEY_BYTES  # of a row, beside the parts while rows are loaded
ROWS_PER_GROUP = 4096  # of the file
MOST_IN_MEMORY = 1 << 22
"""Rows; the keys of more are in a file without a name, which is mapped."""

HASHED_AT_A_TIME = 512  # rows: the tokens of 4,096 take 100 MB more while they are read
ROW_KEYS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # row of the input, from 0
        # 128 bits: among 10^9 rows, the probability that two keys are equal by chance is 10^-21
        pa.field("high", pa.uint64(), nullable=False),
        pa.field("low", pa.uint64(), nullable=False),
    ]
)

Value = TypeVar("Value", bound=np.generic)
Keys = NDArray[np.uint64]
"""uint64 [rows, 2]: the high and the low half of each key."""


@dataclass(frozen=True)
class RowKeys:
    """The accepted rows of a dataset, in order: int64 [rows], ascending, and their keys."""

    rows: NDArray[np.int64]
    keys: Keys


def load_row_keys(folder: PurePath, dataset: Manifest) -> RowKeys:
    """Return the keys of the rows of a dataset checkpoint; make them unless the store has them.

    Raises:
        StoreCorruptionError: a part of the dataset is damaged, or the keys cannot be read.
        StorageError: the keys cannot be written.
    """
    digest = fingerprint(_decide_keys(dataset))
    if find_checkpoint(folder / KEYS_MANIFEST, digest).manifest is None:
        verify_files(folder, dataset.files)  # another run's, perhaps, which nobody has verified
        _commit_keys(folder, dataset, _hash_parts(folder, dataset))
    count, done = DatasetDetails.of(dataset).rows, 0
    scratch = scratch_folder(folder)
    rows, keys = _allocate((count,), np.int64, scratch), _allocate((count, 2), np.uint64, scratch)
    for batch in read_batches(folder / KEYS_FILE):  # nothing is in memory twice
        of_batch = slice(done, done + batch.num_rows)
        rows[of_batch], keys[of_batch, 0], keys[of_batch, 1] = batch.columns
        done += batch.num_rows
    return RowKeys(rows, keys)


def scratch_folder(folder: PurePath) -> Path:
    """Return where files without a name are put, for what is kept in a folder of a store."""
    return folder if isinstance(folder, Path) else Path(gettempdir())


def _decide_keys(dataset: Manifest) -> dict[str, object]:
    return {
        "stage": "keys",
        "format": KEYS_FORMAT,
        "parts": [entry.sha256 for entry in dataset.files],
        **_context_of(dataset.decided_by),
    }


def _context_of(decided_by: Mapping[str, object]) -> dict[str, object]:
    """Return what all rows of a dataset have in common of their keys."""
    return {name: decided_by[name] for name in ("tokenizer", "template")}


def _commit_keys(folder: PurePath, dataset: Manifest, batches: Iterable[pa.RecordBatch]) -> None:
    decided_by = _decide_keys(dataset)
    manifest = Manifest(
        kind="keys",
        fingerprint=fingerprint(decided_by),
        decided_by=decided_by,
        files=(commit_table(folder / KEYS_FILE, ROW_KEYS, batches),),
    )
    commit_manifest(folder / KEYS_MANIFEST, manifest)


class KeysWriter:
    """Makes the keys of a dataset while its rows are written.

    They wait in the file `STAGED`, `STAGED_BYTES` for each row.

    Args:
        staging: a folder for that file.
        decided_by: what decides the dataset.
    """

    def __init__(self, staging: Path, decided_by: Mapping[str, object]) -> None:
        self._base = hashlib.blake2b(canonical_json(_context_of(decided_by)), digest_size=KEY_BYTES)
        self._path = staging / STAGED
        self._file = self._path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def add(self, passage: Passage, encoded: Encoded) -> None:
        """Add an accepted row."""
        key = _hash_row(self._base, encoded.input_ids, encoded.token_type_ids)
        self._file.write(passage.row.to_bytes(8, "little") + key)

    def telling(self, tell: Tell) -> Tell:
        """Return `tell` for parts whose keys can be read by `read_staged_keys`."""

        def flush_and_tell(part: StagedPart) -> None:
            self._file.flush()
            tell(part)

        return flush_and_tell

    def commit(self, folder: PurePath, dataset: Manifest) -> None:
        """Write the keys beside the parts of the dataset, which has been committed.

        Raises:
            StorageError: they cannot be written.
        """
        self._file.flush()
        with self._path.open("rb") as file:
            counts = DatasetDetails.of(dataset).part_rows
            parts = (_read_some(file, count) for count in counts)
            _commit_keys(folder, dataset, (some for part in parts for some in _cut_part(part)))


def read_staged_keys(staging: Path, start: int, rows: int) -> Keys:
    """Return the keys of so many rows of a dataset that is being loaded, uint64 [rows, 2].

    Raises:
        StoreCorruptionError: they cannot be read; they are gone when the dataset is complete.
    """
    try:
        with (staging / STAGED).open("rb") as file:
            file.seek(start * STAGED_BYTES)
            return _read_some(file, rows)[:, 1:]
    except (OSError, ValueError) as error:
        raise StoreCorruptionError(f"the keys in {staging} cannot be read: {error}") from error


def _read_some(file: BinaryIO, rows: int) -> NDArray[np.uint64]:
    """Return number and key of the next rows, uint64 [rows, 3]."""
    return np.fromfile(file, "<u8", 3 * rows).reshape(rows, 3)


def _cut_part(part: NDArray[np.uint64]) -> Iterator[pa.RecordBatch]:
    """Yield the keys of a part, uint64 [rows, 3], in row groups of the file."""
    for start in range(0, len(part), ROWS_PER_GROUP):
        row, high, low = part[start : start + ROWS_PER_GROUP].T
        columns = [pa.array(column) for column in (row.astype(np.int64), high, low)]
        yield pa.RecordBatch.from_arrays(columns, schema=ROW_KEYS)


def _hash_row(base: hashlib.blake2b, input_ids: Ids, token_type_ids: Ids) -> bytes:
    digest = base.copy()
    digest.update(input_ids.astype("<i4", copy=False).data)
    digest.update(token_type_ids.astype("<i4", copy=False).data)
    return digest.digest()


def hash_rows(batch: pa.RecordBatch, context: bytes = b"") -> Keys:
    """Return the keys of rows with the columns `input_ids` and `token_type_ids`, uint64 [rows, 2].

    A key is the BLAKE2b of `context`, the tokens and their types, both int32 little-endian.
    """
    base = hashlib.blake2b(context, digest_size=KEY_BYTES)
    columns = [split_lists(batch[name]) for name in ("input_ids", "token_type_ids")]
    digests = b"".join(_hash_row(base, *tokens) for tokens in zip(*columns, strict=True))
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def _allocate(shape: tuple[int, ...], kind: type[Value], folder: Path) -> NDArray[Value]:
    if shape[0] <= MOST_IN_MEMORY:
        return np.empty(shape, kind)
    with storage_faults(folder), TemporaryFile(dir=folder, prefix=".keys-") as file:
        # Without room for it on the disk, writing to a mapped file ends the process.
        os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(kind).itemsize)
        return np.memmap(file, kind, "r+", shape=shape)


def digest_keys(keys: Keys) -> str:
    """Return the sha256 (64 hex digits) of the keys of some rows, in order."""
    return hashlib.sha256(keys.astype("<u8", copy=False).tobytes()).hexdigest()


def _hash_parts(folder: PurePath, dataset: Manifest) -> Iterator[pa.RecordBatch]:
    context = canonical_json(_context_of(dataset.decided_by))
    counts = DatasetDetails.of(dataset).part_rows
    columns = ["row", "input_ids", "token_type_ids"]
    # The files are the parts in order, then the rejects, which have no count.
    for entry, count in zip(dataset.files, counts, strict=False):
        batches = read_batches(folder / entry.name, columns, HASHED_AT_A_TIME)
        keys = [_hash_batch(batch, context) for batch in batches]
        part = pa.Table.from_batches(keys, ROW_KEYS).combine_chunks()
        if part.num_rows != count:
            path = folder / entry.name
            raise StoreCorruptionError(f"{path} has {part.num_rows} rows, not {count}")
        yield from part.to_batches(ROWS_PER_GROUP)


def _hash_batch(batch: pa.RecordBatch, context: bytes) -> pa.RecordBatch:
    high, low = hash_rows(batch, context).T
    return pa.record_batch([batch["row"], pa.array(high), pa.array(low)], schema=ROW_KEYS)
