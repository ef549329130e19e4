"""The rules on bad and cut rows: whether a run may go on with a dataset, made or reused."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from tasks.config.settings import DatasetSettings
from tasks.errors import InputError
from tasks.load.parts import REJECTS_FILE, DatasetDetails
from tasks.store.manifest import Manifest
from tasks.store.tables import iterate_rows

logger = logging.getLogger("wenti.load")

MANY = 0.05
"""The share of rejected or cut rows above which a run warns."""


def is_above(limit: float | None, count: int, rows: int) -> bool:
    """Return whether `count` of `rows` exceed a limit: a share below 1, else a number of rows."""
    if limit is None or not rows:
        return False
    return (count / rows if limit < 1 else count) > limit


def check_dataset(settings: DatasetSettings, folder: PurePath, dataset: Manifest) -> None:
    """Check a dataset against the config's rules, and warn if many rows are rejected or cut.

    Raises:
        InputError: rows are rejected and `on_bad_row` is `fail`, or there are more rejected or cut
            rows than `max_rejected` or `max_cut` allow.
    """
    details, rejects = DatasetDetails.of(dataset), folder / REJECTS_FILE
    if settings.on_bad_row == "fail" and details.rejects:
        raise bad_row(next(iterate_rows(rejects)))
    check_rejects(settings.max_rejected, details.reject_reasons, details.rows_in, rejects)
    _check_cut(settings, details, folder)
    warn_of_rejects(details.reject_reasons, details.rows_in)


def bad_row(reject: Mapping[str, Any]) -> InputError:
    """Return the error of `on_bad_row: fail`; `reject` has the columns of `REJECTS`."""
    remedy = "repair it, or set `dataset.on_bad_row` to reject"
    return InputError(f"{describe_reject(reject)}; {remedy}")


def describe_reject(reject: Mapping[str, Any]) -> str:
    """Return a row of rejects.parquet in words."""
    line = None if reject["line"] is None else f"line {reject['line']}"
    place = ", ".join(part for part in (reject.get("file"), line) if part is not None)
    row = f"row {reject['row']}, {place}" if place else f"row {reject['row']}"
    return f"{row}: {reject['reason']}: {reject['detail']}"


def check_rejects(
    limit: float | None,
    reasons: Mapping[str, int],
    rows_in: int,
    rejects: PurePath | Mapping[str, Mapping[str, Any]],
) -> None:
    """Check the number of rejected rows.

    Args:
        limit: `dataset.max_rejected`.
        reasons: the number of rejects by reason.
        rows_in: the number of input rows.
        rejects: the file that has them, for an example; or one of each reason.

    Raises:
        InputError: there are more than the limit allows.
    """
    if limit is None or not is_above(limit, sum(reasons.values()), rows_in):
        return
    most = max(reasons, key=lambda reason: reasons[reason])
    if isinstance(rejects, PurePath):
        example: Mapping[str, Any] = _find_example(rejects, most)
        listed = f"; the rows are listed in {rejects}"
    else:
        example, listed = rejects[most], ""
    raise InputError(
        f"{_describe_rejects(reasons, rows_in)}, such as {describe_reject(example)};"
        f" `dataset.max_rejected` is {limit:g}: repair the passages, or raise it{listed}"
    )


def no_usable_row(
    reasons: Mapping[str, int], examples: Mapping[str, Mapping[str, Any]]
) -> InputError:
    """Return the error of passages of which every row is rejected; an example of each reason."""
    total, (reason, count) = sum(reasons.values()), Counter(reasons).most_common(1)[0]
    rows = "the only row was" if total == 1 else f"all {total} rows were"
    most = "" if count == total else f", {count} of them"
    example = describe_reject(examples[reason])
    return InputError(
        f"no row is usable: {rows} rejected{most} for {reason}; {example}; repair the input"
    )


def warn_of_rejects(reasons: Mapping[str, int], rows_in: int) -> None:
    """Log a warning if many rows are rejected."""
    if is_above(MANY, sum(reasons.values()), rows_in):
        remedy = "set `dataset.max_rejected` to make such a run fail"
        logger.warning("%s; %s", _describe_rejects(reasons, rows_in), remedy)


def _describe_rejects(reasons: Mapping[str, int], rows_in: int) -> str:
    share = describe_share(sum(reasons.values()), rows_in)
    return f"{share} were rejected: {describe_counts(reasons)}"


def _find_example(rejects: PurePath, reason: str) -> dict[str, Any]:
    """Return the first reject with this reason."""
    return next(row for row in iterate_rows(rejects) if row["reason"] == reason)


def _check_cut(settings: DatasetSettings, details: DatasetDetails, folder: PurePath) -> None:
    count, limit = details.cut_rows or 0, settings.max_cut
    keys = "`dataset.max_title_len` or " * (settings.template == 0) + "`dataset.max_seq_len`"
    share, kinds = describe_share(count, details.rows_in), describe_counts(details.cut or {})
    found = f"{share} are longer than {keys} allows and were cut: {kinds}"
    if limit is not None and is_above(limit, count, details.rows_in):
        raise InputError(
            f"{found}; `dataset.max_cut` is {limit:g}: shorten the texts, raise {keys}, or raise"
            f" the limit; the column `cut` of {folder}/part-*.parquet tells which rows"
        )
    if is_above(MANY, count, details.rows_in):
        logger.warning("%s; the column `cut` of predictions.parquet tells which", found)


def describe_share(count: int, rows: int) -> str:
    """Return a number of rows and their share, such as `3 of 12 rows (25.0 %)`."""
    return f"{count} of {rows} rows ({100 * count / max(rows, 1):.1f} %)"


def describe_lines(rows: int, places: Sequence[Sequence[int | str]]) -> str:
    """Return how many rows have several lines, and where the first ones are.

    A place is the first and the last line, and the name of the file if there are several.
    """
    shown = ", ".join(
        f"{first} to {last}{' of ' if file else ''}{''.join(map(str, file))}"
        for first, last, *file in places
    )
    return f"{rows} (lines {shown}{' …' if rows > len(places) else ''})"


def describe_counts(counts: Mapping[str, int]) -> str:
    """Return counts in words, the largest first, such as `missing_field 9, empty_field 2`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count}" for name, count in ordered)
