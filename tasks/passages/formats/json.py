"""Reading JSON lines and JSON arrays, also the array of SQuAD's files, row by row."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from tasks.config.settings import UTF_8
from tasks.errors import InputError
from tasks.findings import Finding
from tasks.passages import limits
from tasks.passages.formats.json_arrays import array_elements
from tasks.passages.formats.shapes import Shape
from tasks.passages.formats.squad import flatten, is_nested, is_wrapped, names_read
from tasks.passages.layout import (
    KEY,
    Layout,
    PassageFile,
    RawRow,
    RawRows,
    Start,
    find_names_fault,
    open_passages,
)
from tasks.passages.limits import check_size
from tasks.passages.records import Reason, RowError, excerpt, has_several_answers, is_blank_row


def inspect_json(start: Start, layout: Layout) -> Layout | Finding:
    """Return the layout with the fields of the first rows, or why the file cannot be read."""
    layout = _find_structure(start, layout)
    try:
        values = _first_values(start, layout)
    except InputError as error:
        return Finding(KEY, str(error), "or create it again")
    rows = [row for value in values for row in _rows_of(value, layout)]
    objects = [row for row in rows if isinstance(row, dict)]
    names = tuple(dict.fromkeys(name for row in objects for name in row))
    if start.is_whole and not rows:
        return start.no_rows()
    if not objects:
        return _explain_lines(start, rows, layout) or layout
    fault = find_names_fault(start.place, "fields", [*names, *layout.extra], layout.fields)
    has_several = any(is_nested(value, layout.fields) for value in values) or any(
        has_several_answers(row, layout.fields) for row in objects
    )
    return fault or replace(layout, names=(*names, *layout.extra), has_several=has_several)


def _find_structure(start: Start, layout: Layout) -> Layout:
    """Return the layout with the kind that the text has: lines, an array, or one within `data`."""
    text = start.text.lstrip("\ufeff \t\r\n")
    is_line = _is_line_of_several(text)
    in_data = is_wrapped(text) and not (is_line or _is_row(text, layout))
    is_line_of_lists = is_line and layout.format == ".jsonl"
    is_array = in_data or (text.startswith("[") and not is_line_of_lists)
    lacks_newlines = "\r" in text and "\n" not in text
    return replace(
        layout,
        kind=layout.kind.replace(".jsonl", ".json") if is_array else layout.kind,
        is_array=is_array,
        is_in_data=in_data,
        has_bare_returns=lacks_newlines and not is_array,
    )


def _is_line_of_several(text: str) -> bool:
    """Return whether the first line of a text is a whole value, and there are other lines."""
    line, _, others = text.partition("\n")
    return bool(others.strip()) and not isinstance(
        parse_json(line.encode(errors="surrogatepass")), RowError
    )


def _is_row(text: str, layout: Layout) -> bool:
    """Return whether the first line of a text is a row with a passage and an answer."""
    row = parse_json(text.partition("\n")[0].encode(errors="surrogatepass"))
    return isinstance(row, dict) and set(layout.fields.required_in(row)) <= row.keys()


def _first_values(start: Start, layout: Layout) -> list[object]:
    """Return the values at the beginning of a file, as far as they are complete.

    Raises:
        InputError: the file mixes shapes, or is an array that is malformed between its elements.
    """
    text = start.text.replace("\r", "\n") if layout.has_bare_returns else start.text
    if not (layout.is_array or start.is_whole):
        text = text[: text.rfind("\n") + 1]
    file, values = BytesIO(text.encode(errors="surrogatepass")), list[object]()
    try:
        for _, value in _read_values(Path(start.place), file, layout):
            values.append(value)
    except InputError:
        if start.is_whole or not layout.is_array:  # else its end may only be missing here
            raise
    return values


def _explain_lines(start: Start, rows: list[object], layout: Layout) -> Finding | None:
    """Return what a file is in which no row is an object; None if its rows may be damaged."""
    lines = [line for line in start.text.splitlines() if line.strip()]
    if layout.is_array or not rows:
        return None
    if lines[0].strip() == "{":
        remedy = "write one object a line: jq -c . FILE > passages.jsonl"
        return start.fault("has JSON objects of several lines, not one object a line", remedy)
    if any(line.lstrip().startswith("{") for line in lines):
        return None
    if isinstance(rows[0], list):
        return start.fault("has a list on each line, not one object a line", "try jq -c '.[]' FILE")
    problem = f"is not JSON; its first line is {excerpt(lines[0])}"
    return start.fault(problem, "if it has another format, correct its name")


def read_json(path: Path, layout: Layout) -> RawRows:
    """Yield the rows of JSON lines or of one JSON array, optionally compressed.

    A line with several objects has several rows. Rows of empty values are left out, as blank lines
    are.

    Raises:
        InputError: the file mixes shapes, the array is malformed between its elements, or a row is
            longer than `MAX_ROW_BYTES`.
        OSError, EOFError, zlib.error: the file cannot be read or decompressed.
    """
    with open_passages(path, layout) as file:
        for line, value in _read_values(path, file, layout):
            yield from (RawRow(line, row) for row in _rows_of(value, layout))


def _read_values(path: Path, file: PassageFile, layout: Layout) -> Iterator[tuple[int, object]]:
    """Yield the values of a file, or their `RowError`, each with its line."""
    decoder = _decoder_of(names_read(layout.fields))
    is_array, in_data = layout.is_array, layout.is_in_data
    elements = array_elements(path, file, in_data) if is_array else _lines(path, file)
    shape = Shape(path, layout.fields)
    for line, data in elements:
        for value in _parse_objects(data, layout.encoding, decoder):
            shape.check(line, data, value)
            yield line, value


def _rows_of(value: object, layout: Layout) -> Iterator[object]:
    """Yield the rows of a value; several if it is nested."""
    rows = flatten(value, layout.fields)
    return (row for row in rows if not is_blank_row(row, layout.fields))


_DECODER = json.JSONDecoder()


def _decoder_of(names: Collection[str]) -> json.JSONDecoder:
    """Return a decoder that puts a `RowError` in the place of one of these values given twice.

    Of other names, the last value counts. It takes 0.5 µs more for a row.
    """

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) == len(pairs):
            return values
        counts = Counter(name for name, _ in pairs)
        for name in names:
            if counts[name] > 1:
                values[name] = RowError(Reason.REPEATED_FIELD, f"`{name}` is given more than once")
        return values

    return json.JSONDecoder(object_pairs_hook=as_object)


def parse_json(data: bytes, encoding: str = UTF_8, decoder: json.JSONDecoder = _DECODER) -> object:
    """Return the value of the JSON text of one row, or its `RowError`.

    `encoding` is that of the file, for the message; `data` is in UTF-8.
    """
    try:
        return decoder.decode(data.decode().lstrip("\ufeff"))
    except UnicodeDecodeError as error:
        around = excerpt(data[max(0, error.start - 20) : error.end + 20])
        where = f"byte {error.start} is not UTF-8" if encoding == UTF_8 else f"not {encoding}"
        return RowError(Reason.INVALID_TEXT, f"{where}: {around}")
    except RecursionError:
        return RowError(Reason.NOT_JSON, f"it is nested too deeply: {excerpt(data.decode())}")
    except ValueError as error:  # bad JSON, or an integer of too many digits
        return RowError(Reason.NOT_JSON, f"it is not JSON ({error}): {excerpt(data.decode())}")


def _parse_objects(data: bytes, encoding: str, decoder: json.JSONDecoder) -> list[object]:
    """Return the value of a row, the objects if it consists of several, or its `RowError`."""
    value = parse_json(data, encoding, decoder)
    is_malformed = isinstance(value, RowError) and value.reason is Reason.NOT_JSON
    return (is_malformed and _split_objects(data.decode(), decoder)) or [value]


def _split_objects(text: str, decoder: json.JSONDecoder) -> list[object]:
    """Return the objects of a text that consists of objects only; else an empty list."""
    objects, at = list[object](), _skip(text, 0)
    with suppress(ValueError, RecursionError):
        while text.startswith("{", at):
            value, end = decoder.raw_decode(text, at)
            objects.append(value)
            at = _skip(text, end)
    return objects if at == len(text) else []


def _skip(text: str, start: int) -> int:
    """Return the position behind white space and byte order marks."""
    match = _SPACE.match(text, start)
    return start if match is None else match.end()


_SPACE = re.compile(r"[\ufeff\s]*")


def _lines(path: Path, file: PassageFile) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank with their numbers, from 1."""
    line = 0
    while data := file.readline(limits.MAX_ROW_BYTES + 1):
        line += 1
        check_size(path, line, len(data))
        if data.decode(errors="replace").strip():  # str.strip also removes Unicode spaces
            yield line, data
