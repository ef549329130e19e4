"""The passages: read row by row from a file, each one usable or rejected with a reason.

A fault of one row is a `Reject` and reading goes on; a fault that makes the rest of the file
unreadable is an `InputError`. Text is kept exactly as it is. One row (of Parquet: one batch) is in
memory at a time.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import reprlib
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import InputError
from tasks.store import canonical_json

MAX_ROW_BYTES = 64 << 20
_PIECE_BYTES = 1 << 16
_PARQUET_ROWS = 512
_NAMES = (("source", "title"), ("context", "answer"))  # the first that a row has whole is used
_COLUMNS = ("id", *_NAMES[0], *_NAMES[1], "target", "question", "prompt_common", "prompt_domain")
_MARKS = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)
_CSV_CANNOT_GO_ON = ("unexpected end of data", "field larger than field limit")


class Reason(StrEnum):
    """Why a row cannot be used; the closed set of `reason` in the rejects."""

    NOT_JSON = "not_json"
    NOT_CSV = "not_csv"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    EMPTY_FIELD = "empty_field"
    WRONG_TYPE = "wrong_type"
    INVALID_TEXT = "invalid_text"
    TEMPLATE_DOES_NOT_FIT = "template_does_not_fit"


@dataclass(frozen=True)
class Passage:
    """A usable row: `row` counts all rows from 0, `line` is null where a format has no lines."""

    row: int
    line: int | None
    id: str
    context: str
    answer: str
    reference: str | None
    prompt_common: str | None  # this and the next for template 4 only
    prompt_domain: tuple[str, ...]


@dataclass(frozen=True)
class Reject:
    """A row that cannot be used, and why; `detail` is one sentence for people."""

    row: int
    line: int | None
    id: str | None
    reason: Reason
    detail: str


class _RowError(Exception):
    """What is wrong with the row that is being read."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


_Rows = Iterator[tuple[int | None, object]]  # line, and a record or the `_RowError` of its format


def read_passages(path: Path, template: int) -> Iterator[Passage | Reject]:
    """Read a file of passages lazily: one `Passage` or `Reject` for every row, in order.

    Args:
        path: `.jsonl` (JSON lines), `.json` (an array or JSON lines), `.csv` (with a header row)
            or `.parquet`.
        template: Template of the run; 4 needs `prompt_common` and `prompt_domain`.

    Raises:
        InputError: the file is not there, is of another kind, has no row, or cannot be read on.
    """
    read = _reader_of(path)
    row = -1
    try:
        for row, (line, record) in enumerate(read(path)):
            yield parse_record(record, row, line, template)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read on after {row + 1} rows: {error}; the file may be damaged or"
            " closed to this user"
        ) from error
    if row < 0:
        raise InputError(f"{path} has no rows; give at least one in `dataset.predict_file`")


def parse_record(record: object, row: int, line: int | None, template: int) -> Passage | Reject:
    """Turn one record, of whatever type, into a `Passage` or the reason why it is none.

    Fields are `context` and `answer`, or `source` and `title`, which win when both are there;
    optional are `id` (string or integer; otherwise derived from the content) and the reference,
    `target` or `question`. Template 4 needs `prompt_common` and `prompt_domain`.
    """
    known_id = None
    try:
        fields = _fields(record)
        known_id = _id(fields)
        return _passage(fields, row, line, known_id, template)
    except _RowError as fault:
        return Reject(row, line, known_id, fault.reason, fault.detail)


def excerpt(value: object) -> str:
    """Give a short, printable form of any value."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def _fields(record: object) -> dict[str, Any]:
    if isinstance(record, _RowError):
        raise record
    if not isinstance(record, dict):
        raise _RowError(Reason.NOT_AN_OBJECT, f"the row is not an object: {excerpt(record)}")
    return record


def _passage(
    fields: dict[str, Any], row: int, line: int | None, known_id: str | None, template: int
) -> Passage:
    whole = (names for names in _NAMES if all(name in fields for name in names))
    context_name, answer_name = next(whole, _NAMES[1])
    context, answer = _required(fields, context_name), _required(fields, answer_name)
    references = [_optional(fields, name) for name in ("target", "question")]
    return Passage(
        row=row,
        line=line,
        id=known_id or _derived_id(context, answer),
        context=context,
        answer=answer,
        reference=references[0] or references[1],
        prompt_common=_required(fields, "prompt_common") if template == 4 else None,
        prompt_domain=_domains(fields) if template == 4 else (),
    )


def _derived_id(context: str, answer: str) -> str:
    content = canonical_json({"context": context, "answer": answer})
    return "sha256-" + hashlib.sha256(content).hexdigest()[:16]


def _id(fields: dict[str, Any]) -> str | None:
    value = fields.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _optional(fields, "id")


def _required(fields: dict[str, Any], name: str) -> str:
    if fields.get(name) is None:
        raise _RowError(Reason.MISSING_FIELD, f"`{name}` is missing: {excerpt(fields)}")
    text = _text(name, fields[name])
    if _is_blank(text):
        raise _RowError(Reason.EMPTY_FIELD, f"`{name}` has no visible text: {excerpt(text)}")
    return text


def _optional(fields: dict[str, Any], name: str) -> str | None:
    """Give a text, or None where it is missing, null or empty."""
    value = fields.get(name)
    return None if value is None else _text(name, value) or None


def _domains(fields: dict[str, Any]) -> tuple[str, ...]:
    value = fields.get("prompt_domain")
    if value is None:
        raise _RowError(Reason.MISSING_FIELD, f"`prompt_domain` is missing: {excerpt(fields)}")
    if not isinstance(value, list):
        raise _RowError(
            Reason.WRONG_TYPE, f"`prompt_domain` is not a list of strings: {excerpt(value)}"
        )
    return tuple(_text("prompt_domain", one) for one in value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _RowError(Reason.WRONG_TYPE, f"`{name}` is not a string: {excerpt(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        around = excerpt(value[max(0, error.start - 10) : error.end + 10])
        raise _RowError(
            Reason.INVALID_TEXT, f"`{name}` has a character that is no text: {around}"
        ) from None
    return value


def _is_blank(text: str) -> bool:
    """Whether nothing can be seen of a text; these are the texts that give no token at all."""
    return all(
        unicodedata.category(char)[0] in "CZ"
        or unicodedata.category(char) == "Mn"
        or char == "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def _reader_of(path: Path) -> Callable[[Path], _Rows]:
    """Choose the reader, after the checks that need no reading."""
    read = _READERS.get(path.suffix.lower())
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file in `dataset.predict_file`")
    if not path.exists():
        raise InputError(f"{path} does not exist; correct `dataset.predict_file`")
    if read is None:
        kinds = ", ".join(_READERS)
        raise InputError(f"{path} is of an unknown kind; `dataset.predict_file` reads {kinds}")
    return read


def _read_json(path: Path) -> _Rows:
    with path.open("rb") as file:
        _skip_byte_order_mark(path, file)
        is_array = path.suffix.lower() == ".json" and _first_byte(file) == b"["
        for line, data in _array_elements(path, file) if is_array else _lines(path, file):
            yield line, _parse_json(data)


def _parse_json(data: bytes) -> object:
    """Give what the bytes of one row say, or the fault of the row."""
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        around = excerpt(data[max(0, error.start - 20) : error.end + 20])
        return _RowError(Reason.INVALID_TEXT, f"byte {error.start} is not UTF-8: {around}")
    except RecursionError:
        return _RowError(Reason.NOT_JSON, f"it is nested too deeply: {excerpt(data.decode())}")
    except ValueError as error:  # bad JSON, or an integer of too many digits
        return _RowError(Reason.NOT_JSON, f"it is not JSON ({error}): {excerpt(data.decode())}")


def _skip_byte_order_mark(path: Path, file: BinaryIO) -> None:
    start = file.read(3)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16; save it as UTF-8")
    file.seek(3 if start == b"\xef\xbb\xbf" else 0)


def _first_byte(file: BinaryIO) -> bytes:
    """Give the first byte that is no white space, and go back to where the file was."""
    start = file.tell()
    while (byte := file.read(1)).isspace():
        pass
    file.seek(start)
    return byte


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Give the lines that are not blank, numbered from 1."""
    line = 0
    while data := file.readline(MAX_ROW_BYTES + 1):
        line += 1
        _check_size(path, line, len(data))
        if data.decode(errors="replace").strip():  # text knows more kinds of space than bytes
            yield line, data


def _array_elements(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Cut a JSON array into the bytes of its elements, with the line on which each starts.

    Whether an element is JSON is seen when it is parsed, so that a bad one costs one row. An event
    parser cannot give that: with ijson 3.6 a lone surrogate becomes "?", an integer of 5,000
    digits ends the process, and one bad byte makes the rest unreadable.
    """
    line = 1
    while (byte := file.read(1)) != b"[":
        line += byte == b"\n"
    cuts = _cut_at_marks(file)
    parts: list[bytes] = []
    depth, size, rows = 1, 0, 0
    for data, mark in cuts:
        parts.append(data)
        size += len(data)
        _check_size(path, line, size)
        if depth > 1 or mark not in (b",", b"]"):
            depth = max(1, depth + _DEPTH[mark])
            continue
        element = b"".join(parts)[:-1]
        start = _first_line(line, element)
        if element.strip():
            yield start, element
        elif rows or mark == b",":
            raise InputError(f"{path}, line {start}: a comma without a row; repair the array")
        if mark == b"]":
            return _check_nothing_follows(path, start, cuts)
        parts, size, rows, line = [], 0, rows + 1, line + element.count(b"\n")
    line = _first_line(line, b"".join(parts))
    raise InputError(f"{path}: the row that starts on line {line} has no end; repair the array")


_DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1, b",": 0, b"": 0}


def _cut_at_marks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Cut a file after every bracket and comma outside strings; the mark is empty elsewhere."""
    in_string, waiting = False, b""
    while piece := file.read(_PIECE_BYTES):
        piece = waiting + piece
        backslashes = len(piece) - len(piece.rstrip(b"\\"))
        waiting = b"\\" * (backslashes % 2)  # it escapes a character that is not read yet
        start, end = 0, len(piece) - len(waiting)
        for mark in _MARKS.finditer(piece, 0, end):
            if mark[0] == b'"':
                in_string = not in_string
            elif not in_string and len(mark[0]) == 1:
                yield piece[start : mark.end()], mark[0]
                start = mark.end()
        yield piece[start:end], b""
    yield waiting, b""


def _first_line(line: int, element: bytes) -> int:
    """Give the line of the first byte that is no white space."""
    return line + element[: -len(element.lstrip()) or None].count(b"\n")


def _check_nothing_follows(path: Path, line: int, cuts: Iterator[tuple[bytes, bytes]]) -> None:
    if any(data.strip() for data, _ in cuts):
        raise InputError(f"{path} goes on after the array that ends near line {line}; repair it")


def _check_size(path: Path, line: int, size: int) -> None:
    if size > MAX_ROW_BYTES:
        raise InputError(
            f"{path}: the row that starts on line {line} is longer than"
            f" {MAX_ROW_BYTES >> 20} MiB; put one passage in a row"
        )


def _read_csv(path: Path) -> _Rows:
    with path.open("rb") as file:
        _skip_byte_order_mark(path, file)
    csv.field_size_limit(MAX_ROW_BYTES)  # of the process; the standard 128 KiB is too little
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        rows = csv.reader(text, strict=True)
        header: list[str] = []
        while (line := rows.line_num + 1) and (cells := _next_cells(path, rows)) is not None:
            if isinstance(cells, list) and len(cells) < 2 and not "".join(cells).strip():
                continue
            if header:
                yield line, _csv_record(header, cells)
            else:
                header = cells if isinstance(cells, list) else [str(cells)]
                _check_columns(path, header)


def _next_cells(path: Path, rows: Any) -> list[str] | _RowError | None:  # noqa: ANN401 `_csv.reader`
    """Give the next row, the fault that makes it none, or None at the end."""
    line = rows.line_num + 1
    try:
        return next(rows, None)
    except csv.Error as error:
        if str(error).startswith(_CSV_CANNOT_GO_ON):
            raise InputError(
                f"{path}: the row that starts on line {line} has no end ({error}); repair its"
                " quotes"
            ) from error
        return _RowError(Reason.NOT_CSV, f"the row is not CSV: {error}")


def _csv_record(header: list[str], cells: list[str] | _RowError) -> object:
    if isinstance(cells, _RowError):
        return cells
    if len(cells) != len(header):
        detail = f"the row has {len(cells)} cells, the header {len(header)}: {excerpt(cells)}"
        return _RowError(Reason.NOT_CSV, detail)
    record: dict[str, object] = dict(zip(header, cells, strict=True))
    if (domains := record.get("prompt_domain")) is not None:
        # a list, which a cell can only hold as JSON; anything else is found to be of a wrong type
        parsed = _parse_json(str(domains).encode(errors="surrogateescape"))
        record["prompt_domain"] = domains if isinstance(parsed, _RowError) else parsed
    return record


def _read_parquet(path: Path) -> _Rows:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        _check_columns(path, names)
        wanted = [name for name in _COLUMNS if name in names]
        for batch in file.iter_batches(_PARQUET_ROWS, columns=wanted):
            for index in range(batch.num_rows):
                yield None, _parquet_record(batch.slice(index, 1))


def _parquet_record(row: pa.RecordBatch) -> object:
    try:
        return row.to_pylist()[0]
    except ValueError as error:  # a string that is not UTF-8, a time that Python does not know
        return _RowError(Reason.INVALID_TEXT, f"a value cannot be read: {error}")


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if not any(set(pair) <= set(names) for pair in _NAMES):
        raise InputError(
            f"{path} has the columns {excerpt(list(names))}; it needs `context` and `answer`, or"
            " `source` and `title`"
        )


_READERS: dict[str, Callable[[Path], _Rows]] = {
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
