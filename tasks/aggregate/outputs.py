"""The result files of a run: questions and rejects in input order.

Line n of a text belongs to input row n; the line of a reject is empty.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, repeat
from json.encoder import encode_basestring
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from tasks.aggregate.joining.kept import Kept, write_kept
from tasks.aggregate.joining.parts import JoinedRows
from tasks.aggregate.joining.shards import check_rows, join_rejects
from tasks.aggregate.partial import Missing
from tasks.columns.join import find_columns
from tasks.columns.schemas import REJECT_DESCRIPTIONS, describe
from tasks.config.settings import PARTIAL_SUFFIX, REFERENCES_SUFFIX
from tasks.load.parts import REJECTS_FILE, DatasetDetails, has_losses
from tasks.parallel.rows import ALONE, RowHelpers
from tasks.plan.plan import Plan
from tasks.predict.jobs import Prediction
from tasks.runs.results import LINES_FILE, PARTS_FOLDER, PREDICTIONS_FILE, TEXT_FILE
from tasks.store.files import commit_file, storage_of
from tasks.store.manifest import Manifest
from tasks.store.parted.blocks import Block, list_blocks, read_block
from tasks.store.tables import (
    PREDICTIONS,
    ROWS_AT_A_TIME,
    commit_table,
    iterate_rows,
    list_values,
    read_batches,
    without_losses,
)

logger = logging.getLogger("wenti.aggregate")

encode = json.JSONEncoder(ensure_ascii=False).encode
_ENCODE: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: str,
    float: lambda number: repr(number) if math.isfinite(number) else encode(number),
    type(None): lambda _: "null",
}
"""What the encoder does with single values, without the 2 µs that it takes to start."""

LINE = ("row", "id", "context", "answer", "question", "reference")
"""The columns that are in every line of predictions.jsonl as they are."""

MORE_OF_LINE = ("score", "alternatives", "cut")
_ALWAYS = (*LINE, "score")
_FORM = "{" + ", ".join(f'"{name}": %s' for name in _ALWAYS) + "%s}"
LINES_AT_A_TIME = 256


def write_predictions(
    plan: Plan,
    dataset: Manifest,
    prediction: Prediction,
    missing: Missing,
    folder: PurePath,
    eos: int,
    helpers: RowHelpers = ALONE,
) -> Kept:
    """Write predictions.parquet, .jsonl and .txt and rejects.parquet into a run's folder.

    As `aggregate.single_file` says, the first three may be a folder of parts instead.

    Rows that are `missing` become rejects, and every file is then marked as partial. A question is
    finished if its last token is `eos`. Questions that `aggregate.keep` drops become rejects, too.

    Returns:
        How many questions were dropped.

    Raises:
        StoreCorruptionError: a shard or the dataset is damaged, or predictions and rejects together
            are not the rows of the input.
        StorageError: the folder cannot be written.
        WorkerError: a helper died.
    """
    details = DatasetDetails.of(dataset)
    is_single = plan.settings.aggregate.has_single_file(details.rows_in)
    predictions = folder / (PREDICTIONS_FILE if is_single else PARTS_FOLDER)
    rejects = folder / REJECTS_FILE
    unusable = plan.dataset.folder / REJECTS_FILE
    schema = PREDICTIONS if has_losses(dataset) else without_losses(PREDICTIONS)
    made = tuple(outcome for outcome in prediction.outcomes if outcome.manifest is not None)
    joined = JoinedRows(made, schema, eos, find_columns(plan))
    marked = missing.mark(describe(joined.schema))
    with write_kept(plan, predictions, marked, joined, helpers) as result:
        commit_table(
            rejects,
            missing.mark(describe(details.rejects_schema, REJECT_DESCRIPTIONS)),
            join_rejects(unusable, details, prediction.manifests, missing, result.rejects()),
        )
    check_rows(predictions, rejects, details.rows_in)
    if is_single:
        write_texts(predictions, joined.schema, details.rows_in, missing, helpers)
    else:
        logger.info("the predictions are in parts, in %s", predictions)
    return result


def write_texts(
    predictions: PurePath,
    schema: pa.Schema,
    rows_in: int,
    missing: Missing,
    helpers: RowHelpers = ALONE,
) -> None:
    """Write predictions.jsonl and predictions.txt beside a predictions.parquet.

    `schema` is that of the file, `rows_in` the number of input rows.

    Raises:
        StoreCorruptionError: the file cannot be read.
        StorageError: a file cannot be written.
        WorkerError: a helper died.
    """
    columns = [name for name in schema.names if name in (*LINE, *MORE_OF_LINE)]
    encode_block = partial(_encode_block, columns, missing.is_partial)
    _commit_pieces(
        predictions.with_name(LINES_FILE),
        lambda: helpers.compute(encode_block, list_blocks(predictions, at_once=1)),
    )
    text = predictions.with_name(TEXT_FILE)
    commit_marked(text, lambda: read_lines(predictions, "question", rows_in), missing)


def read_lines(predictions: PurePath, column: str, rows_in: int) -> Iterator[str]:
    """Yield the texts of a column of predictions.parquet, one for each row of the input.

    A row without a text, such as a reject, has an empty one. No text has line breaks.
    """
    done = 0
    for batch in read_batches(predictions, ["row", column], ROWS_AT_A_TIME):
        columns = map(list_values, batch.columns)
        for row, text in zip(*columns, strict=True):
            yield from repeat("", row - done)
            yield _on_one_line(text)
            done = row + 1
    yield from repeat("", rows_in - done)


def read_json_lines(
    predictions: PurePath, columns: Sequence[str], is_partial: bool
) -> Iterator[str]:
    """Yield the lines of `as_lines` of a predictions.parquet; `columns` are those that it needs."""
    batches = read_batches(predictions, columns, ROWS_AT_A_TIME)
    return chain.from_iterable(as_lines(batch, is_partial) for batch in batches)


def _encode_block(columns: Sequence[str], is_partial: bool, block: Block) -> Iterator[bytes]:
    """Yield the lines of `as_lines` of a block, some at a time, as bytes."""
    batches = read_block(block, columns, ROWS_AT_A_TIME)
    return _join_lines(chain.from_iterable(as_lines(batch, is_partial) for batch in batches))


def as_lines(batch: pa.RecordBatch, is_partial: bool = False) -> Iterator[str]:
    """Yield predictions as JSON lines with dureader_qg's fields; `question` is generated.

    `row` is the number of the input row; `cut` is there only if anything was cut off, and
    `alternatives` if there are any. With `is_partial`, for a result that lacks rows, a line has
    `"partial": true`.

    The batch has the columns `LINE` and `MORE_OF_LINE`, in older versions without `cut`.
    """
    columns = {name: list_values(batch[name]) for name in batch.schema.names}
    columns["score"] = [_rounded(score) for score in columns["score"]]
    cuts = columns.get("cut", repeat(None, batch.num_rows))
    ends = (
        _end_of_line(cut, others, is_partial)
        for cut, others in zip(cuts, columns["alternatives"], strict=True)
    )
    values = (_encode_all(columns[name]) for name in _ALWAYS)
    return map(_FORM.__mod__, zip(*values, ends, strict=True))


def _encode_all(values: Sequence[Any]) -> list[str]:
    return [_ENCODE.get(type(one), encode)(one) for one in values]


def _end_of_line(cut: str | None, others: Sequence[dict[str, Any]], is_partial: bool) -> str:
    more: dict[str, Any] = {}
    if cut:
        more["cut"] = cut
    if others:
        more["alternatives"] = [{**other, "score": _rounded(other["score"])} for other in others]
    if is_partial:
        more["partial"] = True
    return "".join(f', "{name}": {encode(one)}' for name, one in more.items())


def commit_text(
    path: PurePath, lines: Callable[[], Iterator[str]], setting: str = "store.path"
) -> None:
    """Commit a text file with one line for each item of `lines()`.

    Raises:
        StorageError: it cannot be written; names `setting`, the config key of its folder.
    """
    _commit_pieces(path, lambda: _join_lines(lines()), setting)


def _join_lines(lines: Iterator[str]) -> Iterator[bytes]:
    """Yield `LINES_AT_A_TIME` lines at a time, as bytes: text files take twice as long."""
    while some := list(islice(lines, LINES_AT_A_TIME)):
        yield "".join(f"{line}\n" for line in some).encode()


def _commit_pieces(
    path: PurePath, pieces: Callable[[], Iterator[bytes]], setting: str = "store.path"
) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.writelines(pieces())

    commit_file(path, write, setting=setting)


def commit_marked(
    path: PurePath,
    lines: Callable[[], Iterator[str]],
    missing: Missing,
    setting: str = "store.path",
) -> None:
    """Commit a text file, and `path`.partial beside it if rows are missing.

    The mark is written before the text and removed after it, so that a text that lacks rows never
    looks complete.

    Raises:
        StorageError: a file cannot be written; names `setting`, the config key of its folder.
    """
    mark = path.with_name(path.name + PARTIAL_SUFFIX)
    if missing.is_partial:
        text = json.dumps({"partial": True, **missing.summary}, ensure_ascii=False, indent=2)
        commit_text(mark, lambda: iter([text]), setting)
    commit_text(path, lines, setting)
    if not missing.is_partial:
        storage_of(mark).delete_file(mark, setting)


def write_output(
    predictions: PurePath, rows_in: int, output_path: PurePath, missing: Missing
) -> None:
    """Write the questions to `output_path`, and the references, if any, beside them.

    These are the two files of the example's inference.py; the second is
    `output_path`.reference.txt. `rows_in` is the number of input rows.

    Raises:
        StorageError: a file cannot be written.
    """
    key = "aggregate.output_path"
    texts = {"question": output_path}
    references = output_path.with_name(output_path.name + REFERENCES_SUFFIX)
    if any(row["reference"] for row in iterate_rows(predictions, ["reference"])):
        texts["reference"] = references
    elif storage_of(references).is_file(references):
        logger.warning("%s is not of this run, whose passages have no references", references)
    for column, path in texts.items():
        commit_marked(path, partial(read_lines, predictions, column, rows_in), missing, key)


def _on_one_line(text: str | None) -> str:
    return " ".join((text or "").splitlines())


def _rounded(score: float | None) -> float | None:
    """Return a score without digits beyond the precision of float32."""
    return None if score is None else round(score, 6)
