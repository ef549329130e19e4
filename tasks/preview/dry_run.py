"""What a run of a config would make, reuse and reject, and how long it would take.

Rows are read, but not tokenized: what is cut, and rows that the template does not fit, are not
known before the passages are loaded.
Nothing is written: not even the keys of rows by which a run finds questions that the store has, so
the number of rows to generate is an upper limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.columns.divide import check_divisions
from tasks.columns.source import Note
from tasks.columns.store import ColumnsDetails
from tasks.config.settings import Settings
from tasks.doctor.capacity import estimate_space
from tasks.errors import describe_error
from tasks.export.build import find_export
from tasks.load.dataset import make_request, read_input_rows, take_usable
from tasks.load.parts import DatasetDetails
from tasks.load.rules import bad_row, check_dataset, check_rejects, no_usable_row
from tasks.passages.records import Passage, Reject
from tasks.plan.model import find_model
from tasks.plan.plan import Plan, make_plan, open_store
from tasks.predict.jobs import look_up_all, plan_jobs
from tasks.predict.shards import plan_shards
from tasks.preview.columns import trial_of
from tasks.preview.speed import Speed, find_speed, measure_speed
from tasks.store.lock import reading_lock
from tasks.store.manifest import Manifest

REUSED, TO_MAKE = "reused", "to be made"


@dataclass(frozen=True)
class Rows:
    """The rows of the input: how many there are, and how many are rejected, by reason."""

    rows_in: int
    reject_reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def rejects(self) -> int:
        """How many rows are rejected."""
        return sum(self.reject_reasons.values())


@dataclass(frozen=True)
class DryRun:
    """What a run would do. What is not known is None.

    Attributes:
        export: the export is `reused` or `to be made`.
        load: the same of the dataset.
        rows: the rows of the input; None for a data set or a model that is not downloaded yet.
        shards_planned: how many shards there are.
        shards_reused: how many of them the store has.
        rows_to_make: the rows of the others: the most that are generated.
        speed: of an earlier run, or measured now; None if there is nothing to generate, too.
        unmeasured: why the speed could not be measured; empty if it was not tried.
        bytes: the most that is written.
    """

    export: str
    load: str
    rows: Rows | None
    shards_planned: int | None
    shards_reused: int
    rows_to_make: int | None
    speed: Speed | None
    bytes: int
    unmeasured: str = ""

    @property
    def seconds(self) -> float | None:
        """How long generating takes; 0 if everything is reused."""
        if self.rows_to_make == 0:
            return 0.0
        if self.rows_to_make is None or self.speed is None:
            return None
        return self.rows_to_make / self.speed.rows_per_second

    def as_dict(self) -> dict[str, Any]:
        """Return the content as plain JSON types."""
        rows = self.rows and {
            "rows_in": self.rows.rows_in,
            "rejects": self.rows.rejects,
            "reject_reasons": dict(self.rows.reject_reasons),
        }
        seconds = None if self.seconds is None else round(self.seconds, 1)
        return {**asdict(self), "rows": rows, "seconds": seconds}


def find_dry_run(settings: Settings) -> DryRun:
    """Return what a run of a config would do; the passages are read if they are not loaded yet.

    While that is found out, nothing is deleted from the store.

    Raises:
        InputError: the passages cannot be read, or too many rows are rejected, so that a run fails;
            or their columns cannot divide them as the config asks.
        OSError: a file of the model cannot be read.
    """
    store, size = open_store(settings), estimate_space(settings)
    model = find_model(settings, store)
    if model is None:
        return DryRun(TO_MAKE, TO_MAKE, None, None, 0, None, None, size)
    with reading_lock(store):
        return _find_in_store(make_plan(settings, model), size)


def _find_in_store(plan: Plan, size: int) -> DryRun:
    dataset = plan.dataset.find().manifest
    kept = None if plan.columns is None else plan.columns.find().manifest
    settings = plan.settings
    with trial_of(settings.dataset.keep_columns, settings.aggregate) as trial:
        is_tried = trial is not None and kept is None and settings.dataset.file is not None
        rows = _count_rows(plan, dataset, trial.note if trial and is_tried else None)
        if trial is not None and is_tried:
            trial.check()
    if plan.columns is not None and kept is not None:
        details = ColumnsDetails.of(kept)
        check_divisions(settings.aggregate, plan.columns.folder, details)
    shards = _find_shards(plan, dataset, rows)
    has_export = find_export(plan).manifest is not None
    speed, unmeasured = _find_speed(plan, is_measured=has_export and any(shards or ()))
    return DryRun(
        export=REUSED if has_export else TO_MAKE,
        load=TO_MAKE if dataset is None else REUSED,
        rows=rows,
        shards_planned=None if shards is None else len(shards),
        shards_reused=0 if shards is None else sum(one == 0 for one in shards),
        rows_to_make=None if shards is None else sum(shards),
        speed=speed,
        bytes=size,
        unmeasured=unmeasured,
    )


def _find_speed(plan: Plan, *, is_measured: bool) -> tuple[Speed | None, str]:
    """Return the speed of an earlier run, or else a measured one or why there is none."""
    speed = find_speed(plan)
    if speed is not None or not is_measured:
        return speed, ""
    measured = measure_speed(plan)
    return (measured, "") if isinstance(measured, Speed) else (None, describe_error(measured))


def _count_rows(plan: Plan, dataset: Manifest | None, note: Note | None) -> Rows | None:
    """Return the rows of the input, from the store or else by reading them.

    With `note`, they are read in any case, and it is called for each.
    """
    settings = plan.settings.dataset
    if dataset is not None:
        check_dataset(settings, plan.dataset.folder, dataset)
        details = DatasetDetails.of(dataset)
        for _row in take_usable(_read(plan, note), settings.limit) if note else ():
            pass
        return Rows(details.rows_in, details.reject_reasons)
    if settings.file is None:  # reading it would download it
        return None
    rows_in, reasons, examples = 0, Counter[str](), dict[str, Mapping[str, Any]]()
    for row in take_usable(_read(plan, note), settings.limit):
        rows_in += 1
        if isinstance(row, Reject):
            if settings.on_bad_row == "fail":
                raise bad_row(vars(row))
            reasons[row.reason.value] += 1
            examples.setdefault(row.reason.value, vars(row))
    if reasons.total() == rows_in:
        raise no_usable_row(reasons, examples)
    check_rejects(settings.max_rejected, reasons, rows_in, examples)
    return Rows(rows_in, dict(sorted(reasons.items())))


def _read(plan: Plan, note: Note | None) -> Iterator[Passage | Reject]:
    return read_input_rows(make_request(plan), note)


def _find_shards(plan: Plan, dataset: Manifest | None, rows: Rows | None) -> list[int] | None:
    """Return for each shard how many of its rows are to be made: all, or none if it is there."""
    if dataset is not None:
        jobs = plan_jobs(plan, dataset)
        both = zip(jobs, look_up_all(jobs), strict=True)
        return [job.shard.rows if found.manifest is None else 0 for job, found in both]
    if rows is None:
        return None
    accepted = rows.rows_in - rows.rejects
    planned = plan_shards(accepted, plan.settings.shards.rows_per_shard)
    return [shard.rows for shard in planned]
