"""Formats of passage files, detected by name, and checks before a file is read."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from tasks.errors import InputError
from tasks.findings import Finding
from tasks.passages.records import NAMES, excerpt
from tasks.store.local import file_sha256

KINDS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")
_GZIP_START = b"\x1f\x8b"

PassageFile = BufferedReader | gzip.GzipFile
RawRows = Iterator[tuple[int | None, object]]
"""Pairs of line and record; a row that cannot be parsed has a `RowError` instead of a record."""
COLUMNS = ("id", *NAMES[0], *NAMES[1], "target", "question", "prompt_common", "prompt_domain")


def kind_of(path: Path) -> str:
    """Return the suffix of `KINDS` that selects the reader, such as `.jsonl.gz`, or ""."""
    name = path.name.lower()
    return next((kind for kind in KINDS if name.endswith(kind)), "")


def find_file_fault(path: Path) -> Finding | None:
    """Return what is wrong with a file of passages, judging by its name and first bytes only."""
    key, kind, place = "dataset.predict_file", kind_of(path), path.absolute()
    if not kind:
        return Finding(key, f"{place} has an unknown format", f"known: {', '.join(KINDS)}")
    if not path.is_file():
        what = "not a regular file, which can be read twice" if path.exists() else "no such file"
        what = "a folder, not a file" if path.is_dir() else what
        return Finding(key, f"{place}: {what}", "name a file of passages")
    try:
        with path.open("rb") as file:
            start = file.read(len(_GZIP_START))
    except OSError as error:
        return Finding(key, f"{place} cannot be read: {error.strerror}", "name a readable file")
    if not start:
        return Finding(key, f"{place} is empty", "name a file with at least one passage")
    if kind.endswith(".gz") and start != _GZIP_START:
        return Finding(key, f"{place} is not gzip", "compress it, or remove .gz from its name")
    if start == _GZIP_START and not kind.endswith(".gz"):
        return Finding(key, f"{place} is gzip", "add .gz to its name")
    return None


def identify(path: Path) -> dict[str, str]:
    """Return what identifies a file's rows: its `kind` and the `sha256` of its bytes.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return {"kind": kind_of(path), "sha256": file_sha256(path)}
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; correct `dataset.predict_file`"
        ) from error


def open_passages(path: Path) -> PassageFile:
    """Open a file for reading bytes, decompressed if its name ends in .gz.

    Raises:
        OSError: the file cannot be opened.
    """
    return gzip.open(path) if kind_of(path).endswith(".gz") else path.open("rb")


def check_columns(path: Path, names: list[str]) -> None:
    """Check the column names of a table.

    Raises:
        InputError: a required column is missing, or one that is read is there twice.
    """
    if not any(set(pair) <= set(names) for pair in NAMES):
        raise InputError(
            f"{path} has the columns {excerpt(list(names))}; it needs `context` and `answer`, or"
            " `source` and `title`"
        )
    if repeated := [name for name in COLUMNS if names.count(name) > 1]:
        raise InputError(f"{path} has the column `{repeated[0]}` more than once; keep one of them")
