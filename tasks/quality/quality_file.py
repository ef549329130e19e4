"""quality.parquet: the quality of every row of predictions.parquet, as a checkpoint."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterator
from functools import cache, partial
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.engine.contract import read_contract
from tasks.parallel.rows import ALONE, RowHelpers
from tasks.plan.plan import Plan
from tasks.quality.duplicates import Described, Duplicates, compare, describe
from tasks.quality.flags import summarize
from tasks.quality.judge import COLUMNS, QUALITY, judge
from tasks.quality.texts.normal_form import Normalizer
from tasks.quality.texts.rows import count_up
from tasks.store.files import commit_file, storage_of
from tasks.store.manifest import Manifest, commit_manifest, find_checkpoint, fingerprint
from tasks.store.parted.blocks import Block, list_blocks, read_block
from tasks.store.parted.places import local_folder
from tasks.store.storage import FileEntry
from tasks.store.tables import commit_table, list_values, read_batches

MANIFEST_FILE = "quality.json"
FORMAT = 1
ROWS_AT_A_TIME = 2048  # so that the arrays of their texts are small


def write_quality(
    plan: Plan,
    predictions: PurePath,
    entry: FileEntry,
    place: PurePath,
    helpers: RowHelpers = ALONE,
) -> dict[str, Any]:
    """Write the quality of the rows of `predictions` to `place`.

    `entry` is what was committed as `predictions`. The quality is kept as a checkpoint with the
    shards, too, and copied from there if the rows are the same.

    Returns:
        For metrics.json: `tasks.quality.flags.summarize`.

    Raises:
        StoreCorruptionError: the predictions or the export cannot be read.
        StorageError: the store cannot be written.
        WorkerError: a helper died.
    """
    folder = plan.export.folder
    unk = read_contract(storage_of(folder).fetch(folder)).special_tokens.unk
    decided_by = {
        "stage": "quality",
        "format": FORMAT,
        "predictions": entry.sha256,
        "unk": unk,
        "unicode": unicodedata.unidata_version,
    }
    kept = plan.predictions.folder / place.name
    if not _reuse(kept, fingerprint(decided_by), place):
        judged = commit_table(place, QUALITY, judge_file(predictions, unk, helpers))
        _copy(place, kept)
        commit_manifest(
            kept.with_name(MANIFEST_FILE),
            Manifest(
                kind="quality",
                fingerprint=fingerprint(decided_by),
                decided_by=decided_by,
                files=(judged,),
            ),
        )
    return summarize(read_batches(place))


def _reuse(kept: PurePath, digest: str, place: PurePath) -> bool:
    """Copy the file of a checkpoint, if it is there; return whether it was."""
    manifest = find_checkpoint(kept.with_name(MANIFEST_FILE), digest).manifest
    # Another run may replace the file at any time: what counts is what was copied.
    return manifest is not None and manifest.files == (_copy(kept, place),)


def _copy(source: PurePath, place: PurePath) -> FileEntry:
    return commit_file(place, partial(shutil.copyfile, storage_of(source).fetch(source)))


def judge_file(
    predictions: PurePath, unk: int, helpers: RowHelpers = ALONE
) -> Iterator[pa.RecordBatch]:
    """Yield the quality of the rows of a predictions.parquet, with the columns of `QUALITY`.

    `unk` is the token [UNK].

    Raises:
        StoreCorruptionError: it cannot be read.
        WorkerError: a helper died.
    """
    blocks = list(list_blocks(predictions))
    described = helpers.compute(_describe_block, blocks)
    originals = compare(described, local_folder(predictions))
    parts = ((block, originals.take(block.first, block.rows)) for block in blocks)
    yield from helpers.compute(partial(_judge_block, unk), parts)


def _describe_block(block: Block) -> Iterator[Described]:
    for rows in read_block(block, ["row", "question"], ROWS_AT_A_TIME):
        yield describe(rows["row"].to_numpy(), list_values(rows["question"]), _normalizer())


def _judge_block(unk: int, part: tuple[Block, Duplicates]) -> Iterator[pa.RecordBatch]:
    (block, originals), done = part, 0
    for rows in read_block(block, [*COLUMNS, "output_ids"], ROWS_AT_A_TIME):
        some = originals.take(done, rows.num_rows)
        yield judge(rows, find_token(rows["output_ids"], unk), some, _normalizer())
        done += rows.num_rows


@cache
def _normalizer() -> Normalizer:
    return Normalizer()


def find_token(lists: pa.ListArray, token: int) -> NDArray[np.bool_]:
    """Return which lists have a token, bool [lists]."""
    offsets = lists.offsets.to_numpy()
    found = count_up(lists.values.to_numpy() == token)
    has: NDArray[np.bool_] = found[offsets[1:]] > found[offsets[:-1]]
    return has
