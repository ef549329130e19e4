"""Nested JSON of SQuAD, CMRC and DRCD: articles of paragraphs of questions, as rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.passages.fields import PAIRS, REFERENCES, TEXT, Fields

# Names of CMRC 2018 as it was published first, and those of SQuAD.
_NAMES = {"context_text": PAIRS[0][0], "query_text": REFERENCES[0], "query_id": "id"}
_LEVELS = ("data", "paragraphs", "qas")
_WRAPPED = re.compile(r'\s*\{\s*("[^"]*"\s*:\s*("[^"]*"|[\w.+-]+)\s*,\s*)*"data"\s*:\s*\[')


def names_read(fields: Fields) -> frozenset[str]:
    """Return the names that rows, and the objects around them, may be read from."""
    return frozenset({*fields.readable, *_NAMES, *_LEVELS, TEXT})


def is_wrapped(text: str) -> bool:
    """Return whether a text begins with an object whose only list or mapping is `data`."""
    return _WRAPPED.match(text) is not None


def flatten(record: object, fields: Fields) -> Iterator[object]:
    """Yield one record for each question of nested JSON; another record as it is.

    A question has the fields of its paragraph and its article, too, as far as it has none of these
    names itself. An article or a paragraph without questions has no rows.
    """
    level = _level_of(record, fields)
    if level is None or not isinstance(record, dict):
        yield record
        return
    outer = {name: value for name, value in record.items() if name not in _LEVELS}
    for inner in record[level]:
        for row in flatten(inner, fields):
            yield _joined(outer, row) if isinstance(row, dict) else row


def is_nested(record: object, fields: Fields) -> bool:
    """Return whether a record has its rows in a list, as of `flatten`."""
    return _level_of(record, fields) is not None


def _level_of(record: object, fields: Fields) -> str | None:
    """Return the name of the list that a record has instead of a passage and an answer."""
    if not isinstance(record, dict) or set(fields.pair_in(record)) <= record.keys():
        return None
    return next((one for one in _LEVELS if _is_level(one, record, fields)), None)


def _is_level(name: str, record: Mapping[str, Any], fields: Fields) -> bool:
    """Return whether a list is a level: it has objects only, or is empty where a level may be."""
    items = record.get(name)
    if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
        return False
    has_passage = fields.pair_in(record)[0] in record  # as a row has, and a paragraph
    return bool(items) or name == _LEVELS[-1] or not has_passage


def _joined(outer: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with what is around it; the id and the title are its own, or the nearest."""
    joined = {**outer, **row}
    return {_NAMES.get(name, name): value for name, value in joined.items()}
