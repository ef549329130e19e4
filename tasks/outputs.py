"""The files that a run leaves for its reader: the shards put together in input order."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import StoreCorruptionError
from tasks.jobs import ShardJob
from tasks.parts import REJECTS_FILE
from tasks.plan import Plan
from tasks.store import Manifest, commit_file
from tasks.tables import PREDICTIONS, REJECTS, SHARD, commit_table, read_batches

PREDICTIONS_FILE = "predictions.parquet"
LINES_FILE = "predictions.jsonl"
TEXT_FILE = "predictions.txt"
ROWS_AT_A_TIME = 8192


def write_predictions(
    plan: Plan,
    dataset: Manifest,
    jobs: Sequence[ShardJob],
    shards: Sequence[Manifest],
    folder: Path,
) -> None:
    """Write predictions.parquet, .jsonl and .txt and rejects.parquet into a run's folder.

    Raises:
        StoreCorruptionError: input rows are not predictions plus rejects, each row once.
    """
    predictions, rejects = folder / PREDICTIONS_FILE, folder / REJECTS_FILE
    commit_table(predictions, PREDICTIONS, join_shards(jobs))
    commit_table(rejects, REJECTS, join_rejects(plan.dataset.folder / REJECTS_FILE, shards))
    check_rows(predictions, rejects, dataset.details["rows_in"])
    commit_text(folder / LINES_FILE, lambda: map(as_line, read_rows_of(predictions)))
    commit_text(folder / TEXT_FILE, lambda: (row["question"] for row in read_rows_of(predictions)))


def join_shards(jobs: Sequence[ShardJob]) -> Iterator[pa.RecordBatch]:
    """Give the columns of `tasks.tables.PREDICTIONS`, shard by shard.

    Raises:
        StoreCorruptionError: a shard's rows are not those of the dataset.
    """
    for job in jobs:
        shard = pa.Table.from_batches(read_batches(job.path), schema=SHARD)
        rows = job.read_rows()
        rows = rows.filter(pc.is_in(rows["row"], value_set=shard["row"]))
        for name in ("row", "id"):
            if not shard[name].equals(rows[name]):
                raise StoreCorruptionError(f"{job.path} holds other rows than the dataset ({name})")
        columns = {name: rows[name] for name in ("context", "answer", "reference")}
        joined = pa.table({**dict(zip(shard.column_names, shard.columns, strict=True)), **columns})
        yield from joined.select(PREDICTIONS.names).cast(PREDICTIONS).to_batches()


def join_rejects(of_dataset: Path, shards: Sequence[Manifest]) -> Iterator[pa.RecordBatch]:
    """Give the rows that could not be loaded and those that broke the engine, in input order."""
    of_shards = (reject for shard in shards for reject in shard.details["rejects"])
    merged = heapq.merge(read_rows_of(of_dataset), of_shards, key=itemgetter("row"))
    while piece := list(islice(merged, ROWS_AT_A_TIME)):
        yield pa.RecordBatch.from_pylist(piece, schema=REJECTS)


def check_rows(predictions: Path, rejects: Path, rows_in: int) -> None:
    """Check that the rows of both files together are those of the input, each of them once."""
    numbers = sorted(row for path in (predictions, rejects) for row in _row_numbers(path))
    if numbers != list(range(rows_in)):
        raise StoreCorruptionError(
            f"{predictions} and {rejects} together do not hold every input row once; "
            "delete the dataset and the shards of this run from the store and run again"
        )


def read_rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Give the rows of a Parquet file as dictionaries, one by one."""
    for batch in read_batches(path):
        yield from batch.to_pylist()


def as_line(row: dict[str, Any]) -> str:
    """Give a prediction as a JSON line in the fields of dureader_qg, `question` being ours."""
    names = ("id", "context", "answer", "question", "reference")
    line = {name: row[name] for name in names} | {"score": _rounded(row["score"])}
    if row["alternatives"]:
        others = row["alternatives"]
        line["alternatives"] = [{**other, "score": _rounded(other["score"])} for other in others]
    return json.dumps(line, ensure_ascii=False)


def commit_text(
    path: Path, lines: Callable[[], Iterator[str]], setting: str = "store.path"
) -> None:
    """Commit a text file, one line for each item of `lines()`."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines())

    commit_file(path, write, setting=setting)


def write_output(predictions: Path, output_path: Path) -> None:
    """Write the questions to `aggregate.output_path`, and references beside them if there are any.

    The two files of the example's inference.py: `output_path` and `output_path`.reference.txt.
    """
    key = "aggregate.output_path"
    commit_text(output_path, lambda: (row["question"] for row in read_rows_of(predictions)), key)
    if any(row["reference"] for row in read_rows_of(predictions)):
        commit_text(
            output_path.with_name(output_path.name + ".reference.txt"),
            lambda: (_on_one_line(row["reference"]) for row in read_rows_of(predictions)),
            key,
        )


def _on_one_line(reference: str | None) -> str:
    """Keep line n of the references beside line n of the questions, whatever the text holds."""
    return " ".join((reference or "").splitlines())


def _rounded(score: float) -> float:
    """Leave out the digits that a float32 does not have."""
    return round(score, 6)


def _row_numbers(path: Path) -> Iterator[int]:
    for batch in read_batches(path, ["row"]):
        yield from batch["row"].to_pylist()
