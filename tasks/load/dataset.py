"""Loading: from passages to tokenized rows in Parquet parts; every row is accounted for.

`load_passages` runs in a child process, because PaddleNLP's data sets, and tokenizers with unusual
options, need PaddleNLP.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import Literal, TypeVar

from tasks.columns.keeper import ColumnsKeeper
from tasks.columns.source import Note
from tasks.config.settings import FieldSettings
from tasks.engine.batch import Row
from tasks.engine.model_files import ModelFiles
from tasks.engine.paddle.paddlenlp_datasets import read_named_passages
from tasks.errors import InputError
from tasks.load.encoding import Outcome, QuestionTokenizer, encode_rows
from tasks.load.helpers import Helpers
from tasks.load.parts import PartWriter, Tell
from tasks.load.row_keys import KeysWriter
from tasks.load.rules import bad_row, no_usable_row
from tasks.passages.fields import Fields
from tasks.passages.files import hash_passages
from tasks.passages.finding.file import Given, show_given
from tasks.passages.layout import Layout, RawRow
from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reject, parse_record, split_answers
from tasks.plan.plan import Plan, PlannedCheckpoint
from tasks.store.files import staging_folder
from tasks.store.manifest import MANIFEST, Manifest, commit_manifest

ROWS_ALONE = 4096
"""Rows that are loaded before helpers start, which takes each of them half a second of CPU."""

Read = TypeVar("Read")

NOT_LOADED = {"predict_file", "max_rejected", "max_cut"}
"""Keys of the section `dataset` that a child process does not need as they are."""


def make_request(plan: Plan) -> LoadRequest:
    """Return the request that tells a child process what to load, tokenize and commit."""
    settings, passages = plan.settings.dataset, plan.dataset.decided_by["passages"]
    return LoadRequest(
        folder=plan.dataset.folder,
        fingerprint=plan.dataset.fingerprint,
        decided_by=plan.dataset.decided_by,
        tokenizer=plan.tokenizer_files,
        predict_file=settings.file,
        input_sha256=passages.get("sha256") or passages.get("files"),
        columns=plan.columns,
        has_keys=plan.settings.shards.reuse_rows,
        **{name: value for name, value in settings if name not in NOT_LOADED},
    )


@dataclass(frozen=True)
class LoadRequest:
    """Everything that a child process needs to make a dataset checkpoint."""

    folder: PurePath  # of the dataset checkpoint
    fingerprint: str
    decided_by: Mapping[str, object]
    tokenizer: ModelFiles
    predict_file: Given | None  # None: the named data set
    dataset_name: str
    template: int
    max_seq_len: int
    max_title_len: int
    on_bad_row: Literal["reject", "fail"]
    encoding: str | None = None
    fields: FieldSettings | None = None
    format: str | None = None
    delimiter: str | None = None
    split: str = "dev"
    limit: int | None = None
    # of predict_file, as of `hash_passages`, if the fingerprint was computed from it
    input_sha256: str | Mapping[str, str] | None = None
    keep_columns: str | Sequence[str] = "none"
    columns: PlannedCheckpoint | None = None  # where they go; None if none are kept
    has_keys: bool = False  # whether the keys of the rows are made, too


def load_passages(request: LoadRequest, helpers: int = 0, tell: Tell | None = None) -> Manifest:
    """Make the dataset checkpoint: `part-*.parquet`, `rejects.parquet`, `manifest.json`.

    The tables have the schemas `DATASET` and `REJECTS`; the same request always produces the same
    bytes. Two processes may make the same checkpoint at the same time.

    Args:
        request: what to load, tokenize and commit.
        helpers: how many processes may help; they start if there are more than `ROWS_ALONE` rows.
        tell: called with each part that is complete while others are still missing, if
            `request.has_keys`.

    Raises:
        InputError: the input cannot be read, has no usable row, has a bad row while `on_bad_row`
            is `fail`, or changed in the meantime. Nothing is left behind.
        ModelError: the model folder has no usable vocabulary, or it has changed.
        StorageError: the folder cannot be written.
        WorkerError: a helper died.
    """
    tokenizer, keeping = make_tokenizer(request), keep_columns(request)
    others = Helpers(helpers, partial(make_tokenizer, request))
    with (
        keeping as keeper,
        staging_folder(request.folder) as staging,
        others,
        KeysWriter(staging, request.decided_by) if request.has_keys else nullcontext() as keys,
        PartWriter(staging, keys.telling(tell) if keys and tell else None) as writer,
    ):
        rows = read_input_rows(request, None if keeper is None else keeper.note)
        alone = islice(rows, ROWS_ALONE) if helpers > 0 else rows
        encoded = chain(encode_rows(alone, tokenizer.encode), others.encode(rows))
        usable = refuse_bad_rows(encoded, request.on_bad_row)
        for row in take_usable(usable, request.limit):
            if isinstance(row, Reject):
                writer.reject(row)
            else:
                if keys is not None:
                    keys.add(*row)  # first: a part is told of when it is full
                writer.add(*row)
            if keeper is not None:
                keeper.keep_next()
        _check_some_accepted(writer)
        if keeper is not None:
            keeper.finish()
        _check_unchanged(request)
        if keeper is not None:
            keeper.commit()
        manifest = Manifest(
            kind="dataset",
            fingerprint=request.fingerprint,
            decided_by=dict(request.decided_by),
            files=writer.publish(request.folder),
            details=writer.details().as_dict(),
        )
        commit_manifest(request.folder / MANIFEST, manifest)
        if keys is not None:
            keys.commit(request.folder, manifest)
    return manifest


def load_columns(request: LoadRequest, planned: PlannedCheckpoint, rows: int) -> Manifest:
    """Make the checkpoint of the kept columns of a dataset that is there, and has so many rows.

    Raises:
        InputError: the input cannot be read, has changed, or has other rows than the dataset.
        StorageError: the store cannot be written.
    """
    found, most = 0, rows + (request.limit is None)  # with a limit, the input can have more
    with ColumnsKeeper(planned, request.keep_columns) as keeper:
        for _row in islice(read_input_rows(request, keeper.note), most):
            keeper.keep_next()
            found += 1
        keeper.finish()
        _check_unchanged(request)
        check_rows(request, rows, found)
        return keeper.commit()


def check_rows(request: LoadRequest, rows: int, found: int) -> None:
    """Check that the input has the rows of the dataset that is there.

    Raises:
        InputError: it has other rows.
    """
    if found != rows:
        how = "fewer" if found < rows else "more"
        raise InputError(
            f"the dataset {request.folder} has {rows} rows, but the input has {how}: another"
            " version of Wenti counted them; set dataset.keep_columns to none, or use another"
            " store"
        )


def keep_columns(request: LoadRequest) -> AbstractContextManager[ColumnsKeeper | None]:
    """Return what keeps the columns of a request, or yields None if none are kept."""
    if request.columns is None:
        return nullcontext()
    return ColumnsKeeper(request.columns, request.keep_columns)


def make_tokenizer(request: LoadRequest) -> QuestionTokenizer:
    """Return the tokenizer of a request.

    Raises:
        ModelError: the model folder has no usable vocabulary, or it has changed.
    """
    return QuestionTokenizer(
        request.tokenizer, request.template, request.max_seq_len, request.max_title_len
    )


def refuse_bad_rows(rows: Iterable[Outcome], on_bad_row: str) -> Iterator[Outcome]:
    """Yield the rows.

    Raises:
        InputError: a row is bad and `on_bad_row` is `fail`.
    """
    for row in rows:
        if isinstance(row, Reject) and on_bad_row == "fail":
            raise bad_row(vars(row))
        yield row


def take_usable(rows: Iterable[Read], limit: int | None) -> Iterator[Read]:
    """Yield rows up to the usable one with the number `limit`, from 1; None: all."""
    usable = 0
    for row in rows:
        yield row
        usable += not isinstance(row, Reject)
        if usable == limit:
            return


def read_input_rows(request: LoadRequest, note: Note | None = None) -> Iterator[Passage | Reject]:
    """Read the input, a file or a named data set, lazily, one row at a time.

    `note` is called for each row, as by `read_passages`.

    Raises:
        InputError: the file or the data set cannot be read.
        ObjectStoreError: an object store does not answer.
    """
    if request.predict_file is not None:
        yield from read_passages(
            request.predict_file,
            request.template,
            request.encoding,
            request.fields,
            request.format,
            request.delimiter,
            note,
        )
        return
    row, fields = 0, Fields.of(request.fields, request.template)
    layout = Layout(".jsonl", fields)
    for record in read_named_passages(request.dataset_name, request.split):
        layout = layout if row else replace(layout, names=tuple(record))
        for one in split_answers(record, fields):
            if note is not None:
                note(Path(request.dataset_name), layout, RawRow(None, record))
            yield parse_record(one, row, None, fields)
            row += 1


def _check_some_accepted(writer: PartWriter) -> None:
    if writer.rows:
        return
    if not writer.reasons:
        raise InputError("the data set has no rows; set `dataset.predict_file` to a file")
    examples = {reason: vars(reject) for reason, reject in writer.examples.items()}
    raise no_usable_row(writer.reasons, examples)


def _check_unchanged(request: LoadRequest) -> None:
    given, known = request.predict_file, request.input_sha256
    if given is not None and known is not None and hash_passages(given) != known:
        raise InputError(f"{show_given(given)} changed while it was read; run again")


def read_sample(request: LoadRequest, most: int) -> list[Row]:
    """Return the first usable rows of the passages, at most `most`, as tokens.

    `dataset.limit` does not count: what the sample shows of an export holds for runs without it.
    Call it in a child process: it may import PaddleNLP.

    Raises:
        InputError: the passages cannot be read or have changed, or there is no usable row.
        ModelError: the model folder has no usable vocabulary, or it has changed.
    """
    encoded = encode_rows(read_input_rows(request), make_tokenizer(request).encode)
    encoded = refuse_bad_rows(encoded, request.on_bad_row)
    usable = (one for one in encoded if not isinstance(one, Reject))
    rows = [
        Row(tokens.input_ids, tokens.token_type_ids, passage.row)
        for passage, tokens in islice(usable, most)
    ]
    if not rows:
        raise InputError(
            "no row of the passages is usable, so the export cannot be tried; repair the input"
        )
    _check_unchanged(request)
    return rows
