"""A look at the beginning of a file of passages: how it is read, or why it cannot be.

It takes milliseconds, so a file that cannot be used is refused before any work. What is wrong with
a whole file (its encoding, format or columns) is found here, before any row is rejected for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
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
from tasks.passages.finding.file import show_path
from tasks.passages.formats.csv import has_header, inspect_csv
from tasks.passages.formats.json import inspect_json
from tasks.passages.formats.tables import inspect_table
from tasks.passages.formats.workbooks import inspect_workbook, is_workbook
from tasks.passages.layout import (
    AT_LEAST_ONE,
    KEY,
    SUFFIXES,
    EncodingFault,
    Layout,
    NoRows,
    Start,
    kind_of,
    open_packed,
)

START_BYTES = 1 << 16
ENCODING, FORMAT = "dataset.encoding", "dataset.format"
_PACKED = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
_BINARY = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xff\xff\xff\xff": ".arrow"}
_FEATHER_1 = b"FEA1"
_ARCHIVE, _OLD_WORKBOOK = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # .xlsx and .zip; .xls
_NAMES = {".parquet": "Parquet", ".arrow": "Arrow", ".xlsx": "an Excel workbook"}
_JSON = {".jsonl", ".json"}
_COPY_AGAIN = "it is truncated or damaged: create it or copy it again"
_LONGEST_HEADER = 1000  # of a table that begins like JSON
_WRONG_LINES = 3  # so many cannot be damage, whatever their encoding is


def find_layout(
    path: Path,
    template: int = 1,
    encoding: str | None = None,
    fields: FieldSettings | None = None,
    format_: str | None = None,
    folders: Mapping[str, str | None] = MappingProxyType({}),
    delimiter: str | None = None,
    address: PurePath | None = None,
) -> Layout | Finding:
    """Return how a file of passages is read, or why it cannot be.

    Only its first `START_BYTES` are read, and the schema of Parquet.

    Args:
        path: the file.
        template: `dataset.template`; 4 requires more fields.
        encoding: `dataset.encoding`; None: UTF-8.
        fields: `dataset.fields`; None: by their names.
        format_: `dataset.format`; None: that of the content, or else of the name.
        folders: columns of its folders, which every row gets unless the file has them.
        delimiter: `dataset.delimiter`; None: the one that fits the header of CSV.
        address: of what `path` is a copy of.
    """
    kind = kind_of(path) if format_ is None else f".{format_}"
    place = show_path(address or path)
    wanted = Fields.of(fields, template)
    extra = wanted.columns_of_folders(folders)
    layout = Layout(kind, wanted, extra=extra, folders=folders, asked_delimiter=delimiter)
    data = _read_start(path, place)
    if isinstance(data, Finding):
        return data
    binary = _find_binary(path, data)
    if fault := _find_content_fault(place, data, binary, layout.format):
        return fault
    if format_ is not None and binary not in {None, layout.format}:
        return Finding(FORMAT, f"{place} is {binary}, not {format_}", "correct it, or leave it out")
    if binary is not None:
        inspect = inspect_workbook if binary == ".xlsx" else inspect_table
        return inspect(place, path, replace(layout, kind=binary))
    packed = next((one for one, mark in _PACKED.items() if data.startswith(mark)), "")
    unpacked = _unpack(path, packed) if packed else data
    if isinstance(unpacked, str):
        return Finding(KEY, f"{place} cannot be read: {unpacked}", _COPY_AGAIN)
    # What is packed is told by the content, too: the kind is that of the text until it is known.
    layout = replace(layout, kind=layout.format, is_format_given=format_ is not None)
    found = _inspect_text(place, unpacked, len(unpacked) < START_BYTES, layout, encoding)
    return replace(found, kind=f"{found.kind}{packed}") if isinstance(found, Layout) else found


def _read_start(path: Path, place: str) -> bytes | Finding:
    """Return the first `START_BYTES` of a file, or why there are none."""
    try:
        if problem := _find_path_problem(path):
            return Finding(KEY, f"{place}: {problem[0]}", problem[1])
        with path.open("rb") as file:
            data = file.read(START_BYTES)
    except OSError as error:
        return Finding(KEY, f"{place} cannot be read: {error.strerror}", "name a readable file")
    return data or NoRows(KEY, f"{place} is empty", AT_LEAST_ONE)


def _find_binary(path: Path, data: bytes) -> str | None:
    """Return the suffix of the binary format that a file begins like; None for a text."""
    if data.startswith(_ARCHIVE) and is_workbook(path):
        return ".xlsx"
    return next((kind for mark, kind in _BINARY.items() if data.startswith(mark)), None)


def _find_path_problem(path: Path) -> tuple[str, str] | None:
    """Return why there is no file at a path, and what to do.

    Raises:
        OSError: a folder above it cannot be read.
    """
    if path.is_file():
        return None
    if path.is_dir():
        return "a folder, not a file", "give a file"
    if path.exists():
        return "not a regular file, which can be read twice", "copy it to a file"
    if ":/" in str(path):
        return "no such file; URLs are not read", "download it, and give the path of the file"
    return "no such file", "name a file of passages"


def _find_content_fault(place: str, data: bytes, binary: str | None, asked: str) -> Finding | None:
    """Return why the first bytes are of no format, or not of the one that a file must have."""
    if data.startswith(_OLD_WORKBOOK):
        problem = f"{place} is a workbook of the old format, or has a password"
        return Finding(KEY, problem, "save it as .xlsx without a password")
    if data.startswith(_ARCHIVE) and binary is None:
        return Finding(KEY, f"{place} is an archive, or a damaged workbook", "unpack or repair it")
    if data.startswith(_FEATHER_1):
        return Finding(KEY, f"{place} is Feather of version 1", "write it as Parquet")
    if asked in _NAMES and binary is None:
        problem = f"{place} is not {_NAMES[asked]}"
        return Finding(KEY, problem, "create it again, or correct its name")
    return None


def _unpack(path: Path, packed: str) -> bytes | str:
    """Return the first `START_BYTES` of a compressed file, or why they cannot be unpacked."""
    try:
        with open_packed(path, packed) as file:
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
    kind = layout.kind if layout.is_format_given else _kind_of_text(text, layout)
    if not kind:
        return start.fault("has an unknown format", f"known: {', '.join(SUFFIXES)}")
    inspect = inspect_csv if kind == ".csv" else inspect_json
    return inspect(start, replace(layout, kind=kind))


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
    remedy = f'set dataset.encoding: {guess or "to what it is"}, or save it as "CSV UTF-8"'
    return EncodingFault(KEY, f"{place} is not {name}{likely}", remedy, guess=guess)


def _kind_of_text(text: str, layout: Layout) -> str:
    """Return the kind that a text has, whatever its name says; "" if it is none.

    What begins like JSON is JSON, unless it is a complete header of CSV; what begins otherwise is
    CSV if it has such a header, and else what its name says.
    """
    first, line = text.lstrip()[:1], text.lstrip().partition("\n")[0]
    if first not in {"{", "["}:
        return ".csv" if has_header(text, layout) else layout.kind
    may_be_table = layout.kind == ".csv" and len(line) < _LONGEST_HEADER
    if may_be_table and has_header(text, layout):
        return ".csv"
    return layout.kind if layout.kind in _JSON else ".jsonl" if first == "{" else ".json"
