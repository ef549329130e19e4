"""Turning a record of the input into a `Passage`, or into a `Reject` with the reason.

Text is kept exactly as it is in the input.
"""

from __future__ import annotations

import hashlib
import reprlib
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks.store.manifest import canonical_json

# Field names of context and answer; the first pair that a row has completely is used.
NAMES = (("source", "title"), ("context", "answer"))


class Reason(StrEnum):
    """Why a row is rejected: the values of `reason` in rejects.parquet for input rows."""

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
    """A usable row.

    Attributes:
        row: number among all rows of the file, from 0.
        line: line of the file on which the row starts, from 1; None for Parquet.
        id: given, or derived from context and answer.
        context: the passage.
        answer: the answer to ask for.
        reference: the reference question, if the row has one.
        prompt_common: only for template 4; otherwise None.
        prompt_domain: only for template 4; otherwise empty.
    """

    row: int
    line: int | None
    id: str
    context: str
    answer: str
    reference: str | None
    prompt_common: str | None
    prompt_domain: tuple[str, ...]


@dataclass(frozen=True)
class Reject:
    """A row that cannot be used, with the reason; `detail` explains it in one sentence.

    `row` and `line` are those of `Passage`; `id` is None if the row has no usable one.
    """

    row: int
    line: int | None
    id: str | None
    reason: Reason
    detail: str


class RowError(Exception):
    """Why a row cannot be used; readers yield it in place of the record."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def parse_record(record: object, row: int, line: int | None, template: int) -> Passage | Reject:
    """Turn a record of any type, or a reader's `RowError`, into a `Passage` or a `Reject`.

    Required fields are `context` and `answer`, or `source` and `title`, which take precedence.
    Optional are `id` (a string or an integer; by default derived from the content) and the
    reference, `target` or `question`. Template 4 requires `prompt_common` and `prompt_domain`.
    """
    known_id = None
    try:
        fields = _fields(record)
        known_id = _id(fields)
        return _passage(fields, row, line, known_id, template)
    except RowError as fault:
        return Reject(row, line, known_id, fault.reason, fault.detail)


def excerpt(value: object) -> str:
    """Return a short, printable representation of any value."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def _fields(record: object) -> dict[str, Any]:
    if isinstance(record, RowError):
        raise record
    if not isinstance(record, dict):
        raise RowError(Reason.NOT_AN_OBJECT, f"the row is not an object: {excerpt(record)}")
    return record


def _passage(
    fields: dict[str, Any], row: int, line: int | None, known_id: str | None, template: int
) -> Passage:
    whole = (names for names in NAMES if all(name in fields for name in names))
    context_name, answer_name = next(whole, NAMES[1])
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
        raise RowError(Reason.MISSING_FIELD, f"`{name}` is missing: {excerpt(fields)}")
    text = _text(name, fields[name])
    if _is_blank(text):
        raise RowError(Reason.EMPTY_FIELD, f"`{name}` has no visible text: {excerpt(text)}")
    return text


def _optional(fields: dict[str, Any], name: str) -> str | None:
    """Return a text, or None if it is missing, null or empty."""
    value = fields.get(name)
    return None if value is None else _text(name, value) or None


def _domains(fields: dict[str, Any]) -> tuple[str, ...]:
    value = fields.get("prompt_domain")
    if value is None:
        raise RowError(Reason.MISSING_FIELD, f"`prompt_domain` is missing: {excerpt(fields)}")
    if not isinstance(value, list):
        raise RowError(
            Reason.WRONG_TYPE, f"`prompt_domain` is not a list of strings: {excerpt(value)}"
        )
    return tuple(_text("prompt_domain", domain) for domain in value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise RowError(Reason.WRONG_TYPE, f"`{name}` is not a string: {excerpt(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        around = excerpt(value[max(0, error.start - 10) : error.end + 10])
        raise RowError(
            Reason.INVALID_TEXT, f"`{name}` has a character that is no text: {around}"
        ) from None
    return value


def _is_blank(text: str) -> bool:
    """Return whether a text has no visible character, so that tokenizing it yields no token."""
    return all(
        unicodedata.category(char)[0] in "CZ"
        or unicodedata.category(char) == "Mn"
        or char == "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
