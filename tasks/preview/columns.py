"""Which columns of passages a run would keep, and whether they can divide rows as a config asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.columns.divide import check_divisions
from tasks.columns.source import PREFIX, Asked, Tap, name_results
from tasks.columns.store import ColumnsWriter
from tasks.config.sections.aggregation import AggregateSettings
from tasks.passages.layout import Layout, RawRow


class ColumnsTrial:
    """Notes the names of all kept columns of rows, and the values of those that divide rows.

    Args:
        staging: a folder for temporary files.
        asked: `dataset.keep_columns`.
        divides: the section `aggregate`.
    """

    def __init__(self, staging: Path, asked: Asked, divides: AggregateSettings) -> None:
        self._staging, self._asked, self._divides = staging, asked, divides
        named = {*(divides.partition_by or ()), *(divides.group_by or ())}
        # In the results, a column can have another name than in the passages.
        self._needed = sorted(named | {name.removeprefix(PREFIX) for name in named})
        self._writer = ColumnsWriter(staging, self._needed)
        self._tap = Tap(asked)
        self._names = dict.fromkeys(() if isinstance(asked, str) else asked)
        self._layout: Layout | None = None

    def note(self, path: Path, layout: Layout, raw: RawRow) -> None:
        """Note a row that is read from a file."""
        self._tap.note(path, layout, raw)
        source, kept = self._tap.waiting.popleft()
        if isinstance(kept, dict):
            self._names |= dict.fromkeys(kept)
            kept = {name: value for name, value in kept.items() if name in self._needed}
        elif self._layout is not layout:
            names = [*layout.names, *layout.folders]
            self._names |= dict.fromkeys(source.select(names, self._asked))
            self._layout = layout
        self._writer.add((source, kept))

    def check(self) -> None:
        """Check, after the last row, that the columns can divide rows.

        Raises:
            InputError: as `check_divisions`.
        """
        _files, details = self._writer.publish(self._staging)
        names = [*name_results(self._names).values()]
        details = details.model_copy(update={"names": names})
        check_divisions(self._divides, self._staging, details)


@contextmanager
def trial_of(asked: Asked, divides: AggregateSettings) -> Iterator[ColumnsTrial | None]:
    """Yield a trial that writes nothing into the store; None if no columns are to divide rows."""
    if not (divides.partition_by or divides.group_by):
        yield None
        return
    with TemporaryDirectory() as folder:
        yield ColumnsTrial(Path(folder), asked, divides)
