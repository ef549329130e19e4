"""The functions of `wenti`. Heavy modules are imported by those that need them."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tasks.operations.compare import Comparison

StrPath = str | os.PathLike[str]
STORE = "wenti-store"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: the folder of its results; not a `Path`, if the store is in an object store.
        metrics: the content of metrics.json.
    """

    folder: PurePath
    metrics: dict[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        """The id of the run, such as 20261123-010003-ab12cd."""
        return self.folder.name


def run(config: StrPath, *, day: date | None = None, **overrides: Mapping[str, object]) -> Run:
    """Run a config as `wenti run` does, and return the finished run.

    The log goes to standard error, unless this process has set up its logging. In a notebook, the
    cell can be interrupted; calling this again continues. One run at a time: a run that fails or is
    interrupted ends the child processes of the others in this process, which then try again.

    Args:
        config: name of a config, such as `demo`, or a YAML file.
        day: the day that {date} in a path stands for; today by default.
        overrides: keys that override the config, by section, such as `dataset={"limit": 100}`.

    Raises:
        UnusableError: the config, the input or the machine must be corrected first.
        ShardsFailedError: some shards failed; run again to make them.
        SuspectError: the questions are beyond a limit of the config.
        WentiError: anything else that ends a run, such as a full disk.
    """
    _show_log()
    from flows.prepare import check_settings
    from flows.server.connection import connected
    from tasks.addresses import place_at
    from tasks.config.loading import find_config, load_settings
    from tasks.config.paths import with_date

    name, values = os.fspath(config), {key: _plain(value) for key, value in overrides.items()}
    day = day or date.today()
    path = find_config(name)
    check_settings(with_date(load_settings(path, values), day), path)
    with connected(may_exit=False):
        from flows.outcome import outcome_of
        from flows.parameters import exact
        from flows.question_generation import question_generation

        with exact(config=name, overrides=values) as shown:
            result = outcome_of(lambda: question_generation(day=day, **shown))
    return Run(place_at(result["folder"]), result["metrics"])


def results(run: Run | StrPath = "latest", *, store: StrPath = STORE) -> pd.DataFrame:
    """Return predictions.parquet of a run as a table, one row for each question.

    Whole numbers and truth values have pandas' types with missing values.

    Args:
        run: a run, its folder, its id, `latest`, or `newest`: also one that failed because it is
            suspect. A warning then says that nothing of it was delivered.
        store: the folder of the store, for an id, `latest` and `newest`.

    Raises:
        InputError: there is no such run, or it has no results.
        StoreCorruptionError: the results cannot be read.
    """
    from tasks.operations.rows import read_results

    return _as_frame(read_results(_find(run, store)))


def quality(run: Run | StrPath = "latest", *, store: StrPath = STORE) -> pd.DataFrame:
    """Return quality.parquet of a run and, for each flag, a column that says which rows have it.

    The rows are those of `results`, in the same order. The arguments are the same, too.

    Raises:
        InputError: there is no such run, or an older version of Wenti made it.
        StoreCorruptionError: the results cannot be read.
    """
    from tasks.operations.rows import read_quality

    return _as_frame(read_quality(_find(run, store)))


def compare(
    a: Run | StrPath, b: Run | StrPath, *, questions: int = 10, store: StrPath = STORE
) -> Comparison:
    """Compare two runs as `wenti compare` does: what differs, metrics, flags, changed questions.

    Args:
        a: a run, as for `results`.
        b: the run to compare it with.
        questions: how many changed questions the result has.
        store: the folder of the store, for ids, `latest` and `newest`.

    Raises:
        InputError: there is no such run, or it has no results.
        StoreCorruptionError: the results cannot be read.
    """
    from tasks.operations.compare import compare_runs

    return compare_runs(_find(a, store), _find(b, store), questions)


def _find(run: Run | StrPath, store: StrPath) -> PurePath:
    """Return the folder of a run to look at; warn if nothing of it was delivered."""
    from tasks.addresses import place_at
    from tasks.runs.find import find_shown
    from tasks.store.layout import Store

    name = str(run.folder) if isinstance(run, Run) else os.fspath(run)
    folder, note = find_shown(name, Store(place_at(os.fspath(store))))
    if note is not None:
        warnings.warn(note, stacklevel=3)  # of who has called `results`, `quality` or `compare`
    return folder


def _as_frame(table: pa.Table) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    kinds: dict[pa.DataType, object] = {pa.bool_(): pd.BooleanDtype()}
    for sign in ("", "u"):
        for bits in (8, 16, 32, 64):
            dtype = pd.api.types.pandas_dtype(f"{'U' if sign else ''}Int{bits}")
            kinds[pa.type_for_alias(f"{sign}int{bits}")] = dtype
    frame: pd.DataFrame = table.to_pandas(types_mapper=kinds.get, date_as_object=False)
    return frame


def _plain(value: object) -> Any:  # noqa: ANN401 of any key
    """Return the value of a key as YAML would have it."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _show_log() -> None:
    """Log to standard error as the commands do, unless this process has set up its logging."""
    if logging.getLogger("wenti").hasHandlers():
        return
    from rich.console import Console

    from flows.cli.console import log_to

    log_to(Console(stderr=True))
