"""The rows of a result that the previous run of the same config did not have.

A row is new unless the previous result has one with the same texts: id, context, answer, reference,
question and alternatives. So what was loaded from the previous result, and is then overwritten by
id with the new rows, has every text of this result, if ids are unique. Keys of rows
(`tasks.load.row_keys`) would not do: they do not depend on the id, nor on what was cut off.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.aggregate.outputs import commit_text, read_json_lines
from tasks.columns.join import own_columns
from tasks.errors import StoreCorruptionError
from tasks.plan.plan import Plan
from tasks.runs.find import find_first_try, find_previous
from tasks.runs.record import RunRecord
from tasks.runs.results import NEW_LINES_FILE, NEW_PREDICTIONS_FILE, find_predictions
from tasks.runs.run import Run
from tasks.store.manifest import canonical_json
from tasks.store.tables import commit_table, iterate_rows, read_batches, read_schema

logger = logging.getLogger("wenti.aggregate")

TEXTS = ("id", "context", "answer", "reference", "question")
_DIGEST = pa.binary(16)  # 128 bits, as in `tasks.load.row_keys`


def write_new_rows(plan: Plan, run: Run, is_partial: bool) -> dict[str, Any]:
    """Write predictions_new.parquet and .jsonl into a run's folder, if the config asks for them.

    If there is no previous run, or its predictions are missing or damaged, all rows are new.

    Returns:
        For metrics.json: `rows_new`, the number of rows, None if the config does not ask for them;
        `new_since`, the id of the previous run.

    Raises:
        StoreCorruptionError: the predictions of this run cannot be read.
        StorageError: the files cannot be written.
    """
    if not plan.settings.aggregate.only_new:
        return {"rows_new": None, "new_since": None}
    own = find_predictions(run.folder)
    since, known = _read_previous(plan, run)
    is_new = pc.invert(pc.is_in(hash_texts(own), value_set=known))
    new = run.folder / NEW_PREDICTIONS_FILE
    commit_table(new, read_schema(own), _select(own, is_new))
    names = own_columns(new)
    commit_text(
        run.folder / NEW_LINES_FILE,
        lambda: read_json_lines(new, names, is_partial),
    )
    return {"rows_new": pc.sum(is_new).as_py() or 0, "new_since": since}


def hash_texts(predictions: PurePath) -> pa.Array:
    """Return a digest of the texts of each row of predictions, in order: binary(16).

    Raises:
        StoreCorruptionError: it is missing, damaged or cannot be read.
    """
    digests = bytearray()
    for row in iterate_rows(predictions, [*TEXTS, "alternatives"]):
        others = [other["question"] for other in row["alternatives"]]
        texts = canonical_json([*(row[name] for name in TEXTS), others])
        digests += hashlib.blake2b(texts, digest_size=_DIGEST.byte_width).digest()
    size = len(digests) // _DIGEST.byte_width
    return pa.Array.from_buffers(_DIGEST, size, [None, pa.py_buffer(bytes(digests))])


def _read_previous(plan: Plan, run: Run) -> tuple[str | None, pa.Array]:
    """Return the previous run of the config, and the digests of its rows.

    It is the newest complete one that started before this run or, for a rerun, before the run that
    was repeated first: so a rerun writes the same files. A try with `dataset.limit` is passed over.
    """
    limits = None, plan.settings.dataset.limit

    def is_whole(record: RunRecord) -> bool:
        return record.config.get("dataset", {}).get("limit") in limits

    config, before = run.record.config_file, find_first_try(plan.store, run.record)
    record = None if config is None else find_previous(plan.store, Path(config), before, is_whole)
    if record is not None:
        try:
            folder = plan.store.run_folder(record.run_id)
            return record.run_id, hash_texts(find_predictions(folder))
        except StoreCorruptionError as error:
            logger.warning("all rows count as new: the previous result is lost: %s", error)
    return None, pa.array([], _DIGEST)


def _select(predictions: PurePath, is_chosen: pa.BooleanArray) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in read_batches(predictions):
        yield batch.filter(is_chosen.slice(done, batch.num_rows))
        done += batch.num_rows
