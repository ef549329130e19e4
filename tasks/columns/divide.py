"""Whether kept columns can divide rows into folders or groups, before anything is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import pyarrow as pa
import pyarrow.types as kinds

from tasks.columns.store import COLUMNS_FILE, ColumnsDetails
from tasks.config.sections.aggregation import AggregateSettings
from tasks.config.sections.section import LONGEST_NAME
from tasks.errors import InputError
from tasks.escaping import shorten_list
from tasks.output.partitions import MOST_PARTITIONS, can_divide, name_partitions
from tasks.store.tables import read_batches, read_schema

KEY = "aggregate.partition_by"
GROUPS_KEY = "aggregate.group_by"


def check_divisions(asked: AggregateSettings, folder: PurePath, details: ColumnsDetails) -> None:
    """Check the columns that the section `aggregate` divides rows by.

    Raises:
        InputError: as `check_partitions` and `check_groups`.
    """
    check_partitions(asked.partition_by or (), folder, details)
    check_groups(asked.group_by or (), folder, details)


def check_partitions(columns: Sequence[str], folder: PurePath, details: ColumnsDetails) -> None:
    """Check that columns are kept, and that their values can be in the names of some folders.

    Args:
        columns: `aggregate.partition_by`.
        folder: of the checkpoint of kept columns.
        details: of its manifest.

    Raises:
        InputError: names the columns that are not kept, or the first that cannot divide the data
            set, and why.
    """
    _check_columns(KEY, columns, folder, details)
    if not columns:
        return
    found: set[str] = set()
    for batch in read_batches(folder / COLUMNS_FILE, columns):
        found.update(name_partitions(batch, columns))
        if long := next(filter(_is_too_long, found), None):
            raise InputError(f"`{KEY}`: a value is too long for the name of a folder: {long}")
        if len(found) > MOST_PARTITIONS:
            raise InputError(
                f"`{KEY}`: more than {MOST_PARTITIONS} folders; give columns of fewer values"
            )


def check_groups(columns: Sequence[str], folder: PurePath, details: ColumnsDetails) -> None:
    """Check that columns are kept and have values that can be compared.

    Args:
        columns: `aggregate.group_by`.
        folder: of the checkpoint of kept columns.
        details: of its manifest.

    Raises:
        InputError: names the columns that are not kept, or the first that cannot divide the rows,
            and why.
    """
    _check_columns(GROUPS_KEY, columns, folder, details)


def _check_columns(
    key: str, columns: Sequence[str], folder: PurePath, details: ColumnsDetails
) -> None:
    if unknown := [name for name in columns if name not in details.names]:
        known, named = shorten_list(details.names, 10) or "none", shorten_list(unknown, 10)
        raise InputError(
            f"`{key}`: no such column of the passages is kept: {named}; kept are: {known}"
            " (dataset.keep_columns can name others)"
        )
    kinds_of = read_schema(folder / COLUMNS_FILE) if columns else pa.schema([])
    for name in columns:
        if not can_divide(kinds_of.field(name).type):
            raise InputError(
                f"`{key}`: the column `{name}` has {_name_kind(kinds_of.field(name).type)}; give"
                " columns of text, whole numbers, dates, or true and false"
            )


def _name_kind(kind: pa.DataType) -> str:
    """Return what values of a type are, in words."""
    names = {
        "fractions": kinds.is_floating(kind) or kinds.is_decimal(kind),
        "times": kinds.is_temporal(kind),
        "lists or objects": kinds.is_nested(kind),
    }
    return next((name for name, is_it in names.items() if is_it), "values of another kind")


def _is_too_long(partition: str) -> bool:
    return any(len(name.encode()) > LONGEST_NAME for name in partition.split("/"))
