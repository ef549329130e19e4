"""A look at the beginning of a file of passages: how it is read, or why it cannot be.

It takes milliseconds, so a file that cannot be used is refused before any work. What is wrong with
a whole file (its encoding, format or columns) is found here, before any row is rejected for it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from tasks.config.settings import UTF_8, FieldSettings
from tasks.findings import Finding
from tasks.passages.encodings import (
    GUESSED,
    codec_name,
    count_wrong_lines,
    decode,
    find_mark,
    guess_encoding,
    is_certainly_utf_8,
)
from tasks.passages.fields import Fields
from tasks.passages.files import show_path
from tasks.passages.formats.csv import has_header, inspect_csv
from tasks.passages.formats.json import inspect_json
from tasks.passages.formats.parquet import inspect_parquet
from tasks.passages.layout import AT_LEAST_ONE, KEY, KINDS, Layout, NoRows, Start, kind_of

START_BYTES = 1 << 16
ENCODING = "dataset.encoding"
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .xls
_COPY_AGAIN = "it is truncated or damaged: create it or copy it again"
_WRONG_LINES = 3  # so many cannot be damage, whatever their encoding is


def find_layout(
    path: Path,
    template: int = 1,
    encoding: str | None = None,
    fields: FieldSettings | None = None,
    extra: Mapping[str, str | None] = MappingProxyType({}),
) -> Layout | Finding:
    """Return how a file of passages is read, or why it cannot be.

    Only its first `START_BYTES` are read, and the schema of Parquet.

    Args:
        path: the file.
        template: `dataset.template`; 4 requires more fields.
        encoding: `dataset.encoding`; None: UTF-8.
        fields: `dataset.fields`; None: by their names.
        extra: columns that every row gets unless the file has them.
    """
    place, layout = show_path(path), Layout(kind_of(path), Fields.of(fields, template), extra=extra)
    if problem := _find_path_problem(path):
        return Finding(KEY, f"{place}: {problem[0]}", problem[1])
    try:
        with path.open("rb") as file:
            data = file.read(START_BYTES)
    except OSError as error:
        return Finding(KEY, f"{place} cannot be read: {error.strerror}", "name a readable file")
    if fault := _find_content_fault(place, data, layout.kind):
        return fault
    if data.startswith(_PARQUET):
        return inspect_parquet(place, path, replace(layout, kind=".parquet"))
    is_packed, is_whole = data.startswith(_GZIP), len(data) < START_BYTES
    if is_packed:
        unpacked = _unpack(path)
        if isinstance(unpacked, str):
            return Finding(KEY, f"{place} cannot be read: {unpacked}", _COPY_AGAIN)
        data, is_whole = unpacked, len(unpacked) < START_BYTES
    found = _inspect_text(place, data, is_whole, layout, encoding)
    if isinstance(found, Layout) and is_packed and not found.kind.endswith(".gz"):
        return replace(found, kind=f"{found.kind}.gz")
    return found


def _find_path_problem(path: Path) -> tuple[str, str] | None:
    """Return why there is no file at a path, and what to do."""
    if path.is_file():
        return None
    if path.is_dir():
        return "a folder, not a file", "give a file"
    if path.exists():
        return "not a regular file, which can be read twice", "copy it to a file"
    if ":/" in str(path):
        return "no such file; URLs are not read", "download it, and give the path of the file"
    return "no such file", "name a file of passages"


def _find_content_fault(place: str, data: bytes, kind: str) -> Finding | None:
    """Return why the first bytes do not fit the name of a file."""
    if not data:
        return NoRows(KEY, f"{place} is empty", AT_LEAST_ONE)
    if data.startswith(_WORKBOOKS):
        return Finding(KEY, f"{place} is a workbook or an archive", 'save it as "CSV UTF-8"')
    if kind.endswith(".gz") and not data.startswith(_GZIP):
        return Finding(KEY, f"{place} is not gzip", "compress it, or remove .gz from its name")
    if data.startswith(_GZIP) and kind and not kind.endswith(".gz"):
        return Finding(KEY, f"{place} is gzip", "add .gz to its name")
    is_parquet = data.startswith(_PARQUET)
    if kind == ".parquet" and not is_parquet:
        return Finding(KEY, f"{place} is not Parquet", "create it again, or correct its name")
    if is_parquet and kind not in {"", ".parquet"}:
        return Finding(KEY, f"{place} is Parquet", "rename it to .parquet")
    return None


def _unpack(path: Path) -> bytes | str:
    """Return the first `START_BYTES` of a gzip file, or why they cannot be unpacked."""
    try:
        with gzip.open(path) as file:
            return file.read(START_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        return str(error)


def _inspect_text(
    place: str, data: bytes, is_whole: bool, layout: Layout, asked: str | None
) -> Layout | Finding:
    shown, mark = find_mark(data)
    given = None if asked is None or shown else codec_name(asked)
    encoding, data = given or shown or UTF_8, data[mark:]
    try:
        text = decode(data, encoding, is_whole)
    except UnicodeError as error:  # some codecs escape nothing
        return Finding(ENCODING, f"{place} is not {encoding}: {error}", "correct it")
    if fault := _find_encoding_fault(place, data, text, encoding, given):
        return fault
    layout = replace(
        layout,
        encoding=encoding,
        is_encoding_given=given not in {None, UTF_8},
        mark=mark,
    )
    start = Start(place, text, is_whole)
    if not text.strip():
        return start.no_rows()
    layout = layout if layout.kind else replace(layout, kind=_guess_kind(text, layout.fields))
    if not layout.kind:
        return start.fault("has an unknown format", f"known: {', '.join(KINDS)}")
    return (inspect_csv if layout.format == ".csv" else inspect_json)(start, layout)


def _find_encoding_fault(
    place: str, data: bytes, text: str, encoding: str, given: str | None
) -> Finding | None:
    """Return why `text` is not what is in the file: it has another encoding than `encoding`."""
    if given not in {None, UTF_8} and is_certainly_utf_8(data, encoding):
        return Finding(ENCODING, f"{place} is UTF-8, not {given}", "leave it out")
    wrong = count_wrong_lines(text)
    guess = guess_encoding(data) if wrong else None
    if guess is None and wrong < _WRONG_LINES:
        return None
    likely = f", it looks like {GUESSED.get(guess, guess)}" if guess else ""
    name = "UTF-8" if encoding == UTF_8 else encoding
    set_it = f"set dataset.encoding: {guess or 'to what it is'}"
    return Finding(KEY, f"{place} is not {name}{likely}", f'{set_it}, or save it as "CSV UTF-8"')


def _guess_kind(text: str, fields: Fields) -> str:
    """Return the kind of a text whose name does not tell it; "" if it is none."""
    first = text.lstrip()[:1]
    if first in {"{", "["}:
        return ".jsonl" if first == "{" else ".json"
    return ".csv" if has_header(text, fields) else ""
