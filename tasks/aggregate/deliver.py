"""What a config asks for besides the results of every run: questions.parquet, a data set."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path, PurePath

from tasks.addresses import ObjectPlace
from tasks.aggregate.outputs import write_output
from tasks.aggregate.partial import Missing
from tasks.errors import StoreCorruptionError
from tasks.output.folder import replaced_folder
from tasks.output.marks import HIDDEN, write_mark
from tasks.output.objects import replaced_objects
from tasks.output.partitions import write_partitions
from tasks.output.questions import questions_schema, split_questions
from tasks.plan.plan import Plan
from tasks.runs.results import QUESTIONS_FILE, find_predictions
from tasks.runs.run import Run
from tasks.store.tables import commit_table, read_batches, read_schema

logger = logging.getLogger("wenti.aggregate")


def write_questions(plan: Plan, run: Run) -> None:
    """Write questions.parquet into a run's folder, if the config asks for it.

    The predictions are already there.

    Raises:
        StoreCorruptionError: the predictions cannot be read.
        StorageError: the file cannot be written.
    """
    if plan.settings.aggregate.one_row_per_question:
        source = find_predictions(run.folder)
        schema = questions_schema(read_schema(source))
        rows = split_questions(read_batches(source), schema)
        commit_table(run.folder / QUESTIONS_FILE, schema, rows)


def deliver(plan: Plan, run: Run, rows_in: int, missing: Missing) -> None:
    """Write the results of an input of `rows_in` rows to places outside of the store.

    Only what the config asks for is written: `output_path`, and the data set in `output_folder`.

    Raises:
        StoreCorruptionError: the results in the run's folder cannot be read.
        StorageError: the files cannot be written, or the output folder holds others.
    """
    asked = plan.settings.aggregate
    if asked.output is not None:
        write_output(find_predictions(run.folder), rows_in, asked.output, missing)
    if asked.data_set is not None:
        questions, predictions = run.folder / QUESTIONS_FILE, find_predictions(run.folder)
        source = questions if asked.one_row_per_question else predictions
        mark = {"run_id": run.record.run_id, **(missing.summary if missing.is_partial else {})}
        with _replaced(asked.data_set) as folder:
            written = _write(source, folder, asked.partition_by or ())
            write_mark(folder, missing.is_partial, {**mark, "rows": sum(written.values())})
        rows, files = sum(written.values()), len(written)
        logger.info("data set in %s: %d rows in %d files", asked.data_set, rows, files)


def _replaced(place: PurePath) -> AbstractContextManager[Path]:
    """Return a context manager that yields an empty folder, which replaces the one at `place`."""
    if isinstance(place, ObjectPlace):
        return replaced_objects(place)
    return replaced_folder(Path(place))


def _write(source: PurePath, folder: Path, columns: tuple[str, ...]) -> dict[str, int]:
    """Write the rows of a file as a data set and read it back; return the rows of each file."""
    written = write_partitions(
        folder, read_schema(source), partial(read_batches, source), columns, HIDDEN
    )
    for name, rows in written.items():
        read = sum(batch.num_rows for batch in read_batches(folder / name))
        if read != rows:
            raise StoreCorruptionError(f"{name} reads back as {read} rows, {rows} were written")
    return written
