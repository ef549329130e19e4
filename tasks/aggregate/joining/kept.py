"""Writing the predictions with the questions that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from tasks.aggregate.joining.parts import JoinedRows, commit_joined
from tasks.parallel.rows import RowHelpers
from tasks.plan.plan import Plan
from tasks.quality.judge import QUALITY
from tasks.quality.keep import choose, list_drops
from tasks.quality.quality_file import write_quality
from tasks.runs.results import PREDICTIONS_FILE, QUALITY_FILE
from tasks.store.files import staging_folder
from tasks.store.parted.write import commit_in_form
from tasks.store.storage import FileEntry
from tasks.store.tables import commit_table, read_batches


@dataclass(frozen=True)
class Kept:
    """What `aggregate.keep` has done.

    Attributes:
        predictions: the committed predictions (`tasks.store.manifest.describe_table`).
        quality: for metrics.json, that of all questions, also of those that were dropped; None if
            the config drops none: then they are not judged yet.
        dropped: the number of dropped questions by reason.
        rejects: yields them in the columns of `tasks.store.tables.REJECTS`, in input order; only
            while they are written.
    """

    predictions: FileEntry
    quality: dict[str, Any] | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    rejects: Callable[[], Iterable[dict[str, Any]]] = tuple


@contextmanager
def write_kept(
    plan: Plan,
    predictions: PurePath,
    schema: pa.Schema,
    joined: JoinedRows,
    helpers: RowHelpers,
) -> Iterator[Kept]:
    """Write a run's predictions and, if questions are dropped, quality.parquet beside them.

    All questions are first written to a file beside the shards and judged there, so that another
    `aggregate.keep` finds them judged. That file is deleted at the end of the block.

    Raises:
        StoreCorruptionError: the shards or the export cannot be read.
        StorageError: a file cannot be written.
        WorkerError: a helper died.
    """
    drops = list_drops(plan.settings.aggregate.keep)
    if not drops:
        yield Kept(commit_joined(predictions, schema, joined, helpers))
        return
    with staging_folder(plan.predictions.folder) as staging:
        every, judged = staging / PREDICTIONS_FILE, staging / QUALITY_FILE
        whole = commit_table(every, schema, joined.read())
        quality = write_quality(plan, every, whole, judged, helpers)
        choice = choose(every, judged, drops)
        entry = commit_in_form(predictions, schema, choice.keep(read_batches(every)))
        kept = choice.keep_quality(read_batches(judged))
        commit_table(predictions.with_name(QUALITY_FILE), QUALITY, kept)
        yield Kept(entry, quality, choice.count(), partial(choice.list_dropped, every))
