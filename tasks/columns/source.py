"""Which columns of a row are kept, and the names that they get in the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tasks.escaping import encodable
from tasks.passages.layout import Layout, RawRow
from tasks.passages.records import RowError
from tasks.store.tables import PREDICTIONS

Asked = Literal["all", "none"] | Sequence[str]
"""`dataset.keep_columns`."""

Note = Callable[[Path, Layout, RawRow], None]
"""Called for each row that is read: its file, how that is read, and the record it is from."""

PREFIX = "input_"
OWN = frozenset({*PREDICTIONS.names, "question_rank", "quality"})
"""The columns that results can have besides those of the input; `wenti show` adds `quality`."""


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        path: the file; the name of a data set of PaddleNLP.
        layout: how it is read.
    """

    path: Path
    layout: Layout

    @cached_property
    def used(self) -> frozenset[str]:
        """The columns that the results have under names of their own, such as `context`."""
        return frozenset(self.layout.fields.chosen_in(self.layout.names).values())

    def select(self, names: Iterable[str], asked: Asked) -> list[str]:
        """Return those of the names of columns that are kept."""
        if isinstance(asked, str):
            return [name for name in names if name not in self.used]
        return [name for name in names if name in asked]


Kept = tuple[Source, dict[str, Any] | int]
"""What is kept of a row: its values by column, or its position in a table, from 0."""


class Tap:
    """Notes what is kept of each row that is read, in order, until the row is written.

    Args:
        asked: `dataset.keep_columns`.
    """

    def __init__(self, asked: Asked) -> None:
        self.waiting: deque[Kept] = deque()
        self._asked = asked
        self._source: Source | None = None

    def note(self, path: Path, layout: Layout, raw: RawRow) -> None:
        """Note a row that is read from a file."""
        source = self._source
        if source is None or source.layout is not layout:
            source = self._source = Source(path, layout)
        if raw.position is not None:
            self.waiting.append((source, raw.position))
            return
        record = raw.record if isinstance(raw.record, dict) else {}
        record = {**layout.folders, **record} if layout.folders else record
        kept = {name: record[name] for name in source.select(record, self._asked)}
        self.waiting.append((source, dict(zip(kept, map(_known, kept.values()), strict=True))))


def _known(value: object) -> object:
    """Return a value without what JSON gives twice, or what cannot be read: that is None."""
    try:
        return _without_errors(value) if _has_errors(value) else value
    except RecursionError:
        return None


def _has_errors(value: object) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, RowError):
            return True
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return False


def _without_errors(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_errors(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [*map(_without_errors, value)]
    return None if isinstance(value, RowError) else value


def name_results(names: Iterable[str]) -> dict[str, str]:
    """Return the name that each column has in the results.

    It is its own, unless the results have a column of this name, or another one has been given it:
    then it begins with `input_`. Upper and lower case count as the same, as in Spark and DuckDB.
    """
    taken, found = {"", *OWN}, dict[str, str]()
    for name in names:
        result = encodable(name)
        while result.casefold() in taken:
            result = f"{PREFIX}{result}"
        taken.add(result.casefold())
        found[name] = result
    return found
