"""Turning a record of the input into a `Passage`, or into a `Reject` with the reason.

Text is kept exactly as it is in the input.
"""

from __future__ import annotations

import hashlib
import math
import re
import reprlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tasks.passages.fields import TEXT, Fields
from tasks.store.manifest import canonical_json


class Reason(StrEnum):
    """Why a row is rejected: the values of `reason` in rejects.parquet for input rows."""

    NOT_JSON = "not_json"
    NOT_CSV = "not_csv"
    NOT_AN_OBJECT = "not_an_object"
    REPEATED_FIELD = "repeated_field"
    MISSING_FIELD = "missing_field"
    EMPTY_FIELD = "empty_field"
    NO_ANSWER = "no_answer"
    WRONG_TYPE = "wrong_type"
    INVALID_TEXT = "invalid_text"
    TEMPLATE_DOES_NOT_FIT = "template_does_not_fit"


@dataclass(frozen=True)
class Passage:
    """A usable row.

    Attributes:
        row: number among the rows of all files, from 0.
        line: line of the file on which the row starts, from 1; None for Parquet and
            Arrow.
        id: given, or derived from context and answer.
        context: the passage.
        answer: the answer to ask for.
        reference: the reference question, if the row has one.
        prompt_common: only for template 4; otherwise None.
        prompt_domain: only for template 4; otherwise empty.
        last_line: line on which a row of CSV ends, if it has several.
        file: name of its file, relative to the folder of all; None if only one file is named.
    """

    row: int
    line: int | None
    id: str
    context: str
    answer: str
    reference: str | None
    prompt_common: str | None
    prompt_domain: tuple[str, ...]
    last_line: int | None = None
    file: str | None = None


@dataclass(frozen=True)
class Reject:
    """A row that cannot be used, with the reason; `detail` explains it in one sentence.

    `row`, `line`, `last_line` and `file` are those of `Passage`; `id` is None if the row has no
    usable one.
    """

    row: int
    line: int | None
    id: str | None
    reason: Reason
    detail: str
    last_line: int | None = None
    file: str | None = None


class RowError(Exception):
    """Why a row cannot be used; readers yield it in place of the record, or of a value in it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def parse_record(
    record: object, row: int, line: int | None, fields: Fields, last_line: int | None = None
) -> Passage | Reject:
    """Turn a record of any type, or a reader's `RowError`, into a `Passage` or a `Reject`.

    Context and answer are required, and the prompts of template 4. The id (by default derived from
    the content) and the reference are optional: one that is no text costs no row.
    """
    known_id = None
    try:
        values = _values(record)
        known_id = _as_text(values.get(fields.id))
        passage = _passage(values, row, line, known_id, fields)
        return passage if last_line is None else replace(passage, last_line=last_line)
    except RowError as fault:
        lines = "" if last_line is None else f"lines {line} to {last_line}: "
        detail = f"{lines}{fault.detail}"
        return Reject(row, line, known_id, fault.reason, detail, last_line)


def split_answers(record: object, fields: Fields) -> list[object]:
    """Return one record for each distinct answer of a record that has several, in their order.

    Several answers are a list of texts or of SQuAD's `{text, answer_start}`, or such a mapping of
    lists. A record without any is returned as it is; `parse_record` says what it lacks.
    """
    if not isinstance(record, dict):
        return [record]
    name = fields.pair_in(record)[1]
    answers = _answers_of(record.get(name))
    if not answers or not all(isinstance(one, str) for one in answers):
        return [record]
    return [{**record, name: one} for one in dict.fromkeys(answers)]


def has_several_answers(record: Mapping[str, object], fields: Fields) -> bool:
    """Return whether a record has a list or a mapping as answer, or no answer but `answers`."""
    name = fields.pair_in(record)[1]
    is_other_field = name == fields.answers and "answer" not in fields.named
    return is_other_field or isinstance(record.get(name), list | dict)


def _answers_of(value: object) -> list[object]:
    """Return the answers of a list or of SQuAD's mapping; of anything else, none."""
    if isinstance(value, dict):
        texts = value.get(TEXT)
        return texts if isinstance(texts, list) else [texts]
    if not isinstance(value, list):
        return []
    return [one.get(TEXT) if isinstance(one, dict) else one for one in value]


def is_blank_row(record: object, fields: Fields) -> bool:
    """Return whether a record has context and answer, and every value of it is missing or blank.

    This is how programs write the blank rows of a spreadsheet.
    """
    return (
        isinstance(record, dict)
        and all(map(is_nothing, record.values()))
        and set(fields.pair_in(record)) <= record.keys()
    )


def is_nothing(value: object) -> bool:
    """Return whether a value is null, NaN or a blank text."""
    return _is_missing(value) or (isinstance(value, str) and not value.strip())


def excerpt(value: object) -> str:
    """Return a short, printable representation of any value."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def _values(record: object) -> dict[str, Any]:
    if isinstance(record, RowError):
        raise record
    if not isinstance(record, dict):
        raise RowError(Reason.NOT_AN_OBJECT, f"the row is not an object: {excerpt(record)}")
    return record


def _passage(
    values: dict[str, Any], row: int, line: int | None, known_id: str | None, fields: Fields
) -> Passage:
    context, answer = (_required(values, name) for name in fields.pair_in(values))
    references = (_as_text(values.get(name)) for name in fields.references)
    common, domain = fields.prompts or (None, None)
    return Passage(
        row=row,
        line=line,
        id=known_id or _derived_id(context, answer),
        context=context,
        answer=answer,
        reference=next((one for one in references if one), None),
        prompt_common=_required(values, common) if common else None,
        prompt_domain=_domains(values, domain) if domain else (),
    )


def _derived_id(context: str, answer: str) -> str:
    content = canonical_json({"context": context, "answer": answer})
    return "sha256-" + hashlib.sha256(content).hexdigest()[:16]


def _required(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    # What is missing may be in a list around the rows that is given twice.
    doubtful = values.values() if _is_missing(value) else (value, *_answers_of(value))
    for one in doubtful:
        if isinstance(one, RowError):
            raise one
    if _is_missing(value):
        raise RowError(Reason.MISSING_FIELD, f"`{name}` is missing: {excerpt(values)}")
    if isinstance(value, list | dict) and not _answers_of(value):
        raise RowError(Reason.NO_ANSWER, f"`{name}` is empty: there is no answer to ask for")
    text = _text(name, value)
    if _is_blank(text):
        raise RowError(Reason.EMPTY_FIELD, f"`{name}` has no visible text: {excerpt(text)}")
    return text


def _as_text(value: object) -> str | None:
    """Return an optional value as text; None if it is missing, empty, or no text.

    A list stands for the first of its values that is text; pandas writes integers as floats if some
    rows have none.

    Raises:
        RowError: the value is one.
    """
    if isinstance(value, RowError):
        raise value
    values = value if isinstance(value, list) else [value]
    return next((text for one in values if (text := _scalar_as_text(one))), None)


def _scalar_as_text(value: object) -> str | None:
    if value is None or isinstance(value, bool | list | dict | bytes):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    text = str(value)
    return None if _SURROGATE.search(text) else text or None


_SURROGATE = re.compile("[\ud800-\udfff]")


def _is_missing(value: object) -> bool:
    """Return whether a value is null or NaN, which pandas writes for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _domains(values: dict[str, Any], name: str) -> tuple[str, ...]:
    value = values.get(name)
    if isinstance(value, RowError):
        raise value
    if value is None:
        raise RowError(Reason.MISSING_FIELD, f"`{name}` is missing: {excerpt(values)}")
    if not isinstance(value, list):
        raise RowError(Reason.WRONG_TYPE, f"`{name}` is not a list of strings: {excerpt(value)}")
    return tuple(_text(name, domain) for domain in value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        detail = f"`{name}` is not a string: {excerpt(value)}{_hint(value)}"
        raise RowError(Reason.WRONG_TYPE, detail)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        around = excerpt(value[max(0, error.start - 10) : error.end + 10])
        raise RowError(
            Reason.INVALID_TEXT, f"`{name}` has a character that is no text: {around}"
        ) from None
    return value


def _hint(value: object) -> str:
    """Return what to do about a number where a text is needed; empty for other values.

    It is not converted, because its digits may not be those of the passage: 007, 1.50, 1,912.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "; write it as text (in JSON: in quotes), as the passage has it" if is_number else ""


def _is_blank(text: str) -> bool:
    """Return whether a text has no visible character, so that tokenizing it yields no token."""
    return all(
        unicodedata.category(char)[0] in "CZ"
        or unicodedata.category(char) == "Mn"
        or char == "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
