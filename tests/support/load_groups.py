"""Inputs of several files, which are loaded in groups."""

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.load.dataset import LoadRequest
from tasks.load.groups import division
from tasks.passages.files import hash_passages
from tests.support.kept_columns import planned_request
from tests.support.load_requests import whole

FILES = "abcde"
ROWS = 12


def divide_by(monkeypatch: pytest.MonkeyPatch, group_bytes: int) -> None:
    monkeypatch.setattr(division, "GROUP_BYTES", group_bytes)


def request_of_folder(load_request: LoadRequest, given: Path) -> LoadRequest:
    """Return a request to load what is there now, as a run makes it, and to keep its columns."""
    request = planned_request(load_request, given, "all")
    return replace(request, input_sha256=hash_passages(given))


def write_files(folder: Path, suffix: str) -> Path:
    """Write files with rows of each kind: usable, bad, blank and, where possible, with answers."""
    folder.mkdir()
    for at, name in enumerate(FILES):
        rows = [_row(at, number) for number in range(ROWS + at)]
        path = folder / f"{name}{suffix}"
        path.write_bytes(_WRITERS[suffix](rows))
    return folder


def _row(at: int, number: int) -> dict[str, Any]:
    row = {"context": "长江是中国最大的河流。" * (number + 1), "answer": "长江", "page": number}
    row |= {"url": f"http://{at}"} if at % 2 else {}  # so that files have unlike columns
    row["id"] = f"{at}-{number}"
    if number % 5 == 3:
        row |= {"answer": " "}
    if number % 7 == 4:
        row = dict.fromkeys(row)
    return row


def _lines(rows: list[dict[str, Any]]) -> bytes:
    several = {"context": "河流", "answers": ["河", "流"]}
    texts = [json.dumps(row, ensure_ascii=False) for row in [*rows, several]]
    return "\n".join([*texts, "nonsense", ""]).encode()


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    writer.writerow(rows[0] | {"context": "长江\n河流"})
    return f"{text.getvalue()}one cell\n".encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


_WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    ".jsonl": _lines,
    ".jsonl.gz": lambda rows: gzip.compress(_lines(rows), mtime=0),
    ".csv": _csv,
    ".parquet": _parquet,
}


def read_dataset(request: LoadRequest) -> dict[str, pa.Table]:
    """Return the rows, the rejects and the kept columns of a request."""
    tables = {"rows": whole(request)}
    tables["rejects"] = pq.read_table(Path(request.folder, "rejects.parquet"))
    if request.columns is not None:
        tables["columns"] = pq.read_table(Path(request.columns.folder, "columns.parquet"))
    return {name: table.combine_chunks() for name, table in tables.items()}


def read_bytes(request: LoadRequest) -> dict[str, bytes]:
    """Return the content of all files of a dataset, and of the checkpoint of its columns."""
    folders = [request.folder, *([request.columns.folder] if request.columns else [])]
    paths = [path for folder in folders for path in sorted(Path(folder).iterdir())]
    return {path.name + path.parent.parent.name: path.read_bytes() for path in paths}
