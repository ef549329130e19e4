"""The jobs of a predict stage, which of them a run does, and their outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Self

import pyarrow as pa

from tasks.errors import InputError
from tasks.load.part_reader import read_dataset_parts
from tasks.load.parts import DatasetDetails
from tasks.plan.plan import Plan
from tasks.plan.stage_result import TimeSpan
from tasks.predict.shards import Shard, ShardDetails, find_shard, find_shards, plan_shards
from tasks.store.manifest import Found, Manifest, fingerprint


@dataclass(frozen=True)
class StageJob:
    """What the shards of a stage have in common: the dataset, the batches, where the results go.

    It has the dataset's manifest, megabytes for millions of rows, so it is sent to a worker once.
    """

    dataset_folder: PurePath
    dataset: Manifest
    folder: PurePath
    fingerprint: str
    decided_by: dict[str, Any]
    batch_size: int
    max_tokens_per_batch: int
    commit_seconds: float = 60.0

    @classmethod
    def from_plan(cls, plan: Plan, dataset: Manifest) -> Self:
        """Return the job of a plan's predict stage over the rows of a dataset checkpoint."""
        settings = plan.settings
        return cls(
            dataset_folder=plan.dataset.folder,
            dataset=dataset,
            folder=plan.predictions.folder,
            fingerprint=plan.predictions.fingerprint,
            decided_by=plan.predictions.decided_by,
            batch_size=settings.predict.batch_size,
            max_tokens_per_batch=settings.predict.max_tokens_per_batch,
            commit_seconds=settings.shards.commit_seconds,
        )


@dataclass(frozen=True)
class ShardJob:
    """A shard to make: which rows, of which stage."""

    shard: Shard
    stage: StageJob

    @property
    def claim(self) -> str:
        """Name of the claim that a run holds while it makes the shard."""
        return self.shard.claim(self.stage.fingerprint)

    @property
    def manifest_path(self) -> PurePath:
        """Where the shard's manifest goes."""
        return self.stage.folder / self.shard.manifest_name

    def by_content(self, content: str) -> Self:
        """Return the job whose folder depends on the rows themselves, not on their dataset.

        There, what is made before the dataset is complete is found again, by whatever run.
        `content` is a digest of the rows' keys.
        """
        decided_by = {**self.stage.decided_by, "dataset": content}
        digest = fingerprint(decided_by)
        folder = self.stage.folder.with_name(digest)
        stage = replace(self.stage, folder=folder, fingerprint=digest, decided_by=decided_by)
        return replace(self, shard=replace(self.shard, index=0, count=1), stage=stage)

    def read_rows(self, *columns: str) -> Iterator[pa.Table]:
        """Yield some columns of the shard's rows of the dataset, part by part.

        The columns are in the order of `tasks.store.tables.DATASET`.

        Raises:
            StoreCorruptionError: a part of the dataset cannot be read.
        """
        stage, shard = self.stage, self.shard
        return read_dataset_parts(
            stage.dataset_folder, stage.dataset, shard.start, shard.stop, columns
        )

    def read_lengths(self) -> list[int]:
        """Return the number of tokens of each of the shard's rows.

        Raises:
            StoreCorruptionError: a part of the dataset cannot be read.
        """
        parts = self.read_rows("seq_len")
        return [length for part in parts for length in part["seq_len"].to_pylist()]

    def read_ids(self) -> list[dict[str, Any]]:
        """Return `row` and `id` of the shard's rows.

        Raises:
            StoreCorruptionError: a part of the dataset cannot be read.
        """
        return [row for part in self.read_rows("row", "id") for row in part.to_pylist()]


@dataclass(frozen=True)
class ShardOutcome:
    """The outcome of a planned shard.

    It was reused or made, with a manifest; it failed, with an error; or the store does not have it,
    and it was left out because it was not selected.
    """

    job: ShardJob
    manifest: Manifest | None
    is_reused: bool = False
    error: str | None = None
    is_left_out: bool = False

    @property
    def state(self) -> str:
        """`reused`, `made`, `failed` or `left out`."""
        if self.manifest is None:
            return "left out" if self.is_left_out else "failed"
        return "reused" if self.is_reused else "made"


@dataclass(frozen=True)
class Prediction:
    """The predict stage: an outcome for every planned shard, in order, and when the stage ran.

    `devices` is what each worker did and used (`tasks.predict.workers.base.ShardPool.figures`).
    """

    outcomes: list[ShardOutcome]
    span: TimeSpan
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def manifests(self) -> list[Manifest]:
        """The manifests of the shards that were reused or made, in order."""
        return [outcome.manifest for outcome in self.outcomes if outcome.manifest is not None]

    @property
    def missing(self) -> list[ShardOutcome]:
        """The shards that failed or were left out, in order."""
        return self._in("failed", "left out")

    @property
    def failed(self) -> list[ShardOutcome]:
        """The shards that this run tried to make in vain."""
        return self._in("failed")

    @property
    def left_out(self) -> list[ShardOutcome]:
        """The missing shards that were not selected."""
        return self._in("left out")

    @property
    def reused(self) -> list[ShardOutcome]:
        """The shards that the store already had."""
        return self._in("reused")

    @property
    def made(self) -> list[ShardOutcome]:
        """The shards that were generated now."""
        return self._in("made")

    @property
    def rows_reused(self) -> int:
        """The number of rows that this run did not generate."""
        in_made = (ShardDetails.of(one.manifest).rows_reused for one in self.made if one.manifest)
        return sum(one.job.shard.rows for one in self.reused) + sum(in_made)

    @property
    def origins(self) -> Counter[str]:
        """The number of reused rows by the fingerprint of the predictions that they come from."""
        origins: Counter[str] = Counter()
        for one in self.reused:
            origins[one.job.stage.fingerprint] += one.job.shard.rows
        for one in self.made:
            origins.update(ShardDetails.of(one.manifest).known if one.manifest else {})
        return origins

    def _in(self, *states: str) -> list[ShardOutcome]:
        return [outcome for outcome in self.outcomes if outcome.state in states]


@dataclass(frozen=True)
class Selection:
    """Which of the planned shards a run makes.

    Attributes:
        shards: their numbers; None: all.
        is_forced: make them even if the store has them.
    """

    shards: frozenset[int] | None = None
    is_forced: bool = False

    def has(self, job: ShardJob) -> bool:
        """Return whether a shard is selected."""
        return self.shards is None or job.shard.index in self.shards

    def check(self, jobs: Sequence[ShardJob]) -> None:
        """Check that every selected shard exists.

        Raises:
            InputError: names those that do not.
        """
        self.check_numbers(len(jobs))

    def check_numbers(self, count: int) -> None:
        """Check that every selected shard is one of `count`.

        Raises:
            InputError: names those that are not.
        """
        unknown = sorted(number for number in self.shards or () if number >= count)
        if unknown:
            named = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
            known = "only shard 0" if count == 1 else f"shards 0 to {count - 1}"
            raise InputError(f"there is no shard {named}; the run has {known}")

    def find_reused(self, outcomes: Iterable[ShardOutcome]) -> list[int]:
        """Return the numbers of the shards that were selected by number, but not made again."""
        reused = (one.job.shard.index for one in outcomes if one.is_reused)
        return [number for number in reused if number in (self.shards or frozenset())]


def plan_jobs(plan: Plan, dataset: Manifest) -> list[ShardJob]:
    """Return the jobs of a predict stage over the rows of a dataset checkpoint, in order."""
    stage, rows = StageJob.from_plan(plan, dataset), DatasetDetails.of(dataset).rows
    shards = plan_shards(rows, plan.settings.shards.rows_per_shard)
    return [ShardJob(shard, stage) for shard in shards]


def look_up(job: ShardJob) -> Found:
    """Look a job's shard up in the store; a damaged one counts as missing, with the reason."""
    return find_shard(job.stage.folder, job.shard, job.stage.fingerprint)


def look_up_all(jobs: Sequence[ShardJob]) -> Iterator[Found]:
    """Yield what `look_up` returns for each of the jobs of a stage, in their order."""
    if jobs:
        stage, shards = jobs[0].stage, [job.shard for job in jobs]
        yield from find_shards(stage.folder, shards, stage.fingerprint)
