"""What the store has of a config, stage by stage and shard by shard; nothing is computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.jobs import ShardJob, look_up, plan_jobs
from tasks.model import find_model
from tasks.plan import Plan, Planned, make_plan, open_store
from tasks.preflight import check
from tasks.settings import Settings
from tasks.store import Found, Manifest


@dataclass(frozen=True)
class StageStatus:
    """A stage: `made`, `missing`, `damaged`, or how many shards are made."""

    name: str
    state: str
    fingerprint: str
    rows: int | None = None
    damage: str | None = None


@dataclass(frozen=True)
class ShardStatus:
    """A shard of the predict stage: `made`, `missing` or `damaged`."""

    index: int
    state: str
    rows: int
    file: str
    damage: str | None = None


@dataclass(frozen=True)
class Status:
    """All stages, and the shards if the dataset is there to tell how many there are."""

    stages: list[StageStatus]
    shards: list[ShardStatus] = field(default_factory=list)

    @property
    def damages(self) -> list[str]:
        """What is damaged, a sentence each."""
        found = [stage.damage for stage in self.stages] + [shard.damage for shard in self.shards]
        return [damage for damage in found if damage]

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain JSON types."""
        return asdict(self)


def look_at(settings: Settings) -> Status:
    """Look up every checkpoint of a config.

    Raises:
        PreflightError: a file that the settings name is not there.
    """
    check(settings)
    store = open_store(settings)
    model_folder = find_model(settings, store)
    if model_folder is None:
        return Status([StageStatus("model", "missing: it is downloaded by the first run", "")])
    plan = make_plan(settings, model_folder)
    dataset = plan.dataset.find()
    rows = dataset.manifest.details["rows"] if dataset.manifest else None
    shards = _look_at_shards(plan, dataset.manifest) if dataset.manifest else []
    stages = [
        _stage("export", plan.export, plan.export.find()),
        _stage("load", plan.dataset, dataset, rows),
        StageStatus("predict", _summary(shards), plan.predictions.fingerprint, rows),
    ]
    return Status(stages, shards)


def _look_at_shards(plan: Plan, dataset: Manifest) -> list[ShardStatus]:
    return [_shard(job, look_up(job)) for job in plan_jobs(plan, dataset)]


def _stage(name: str, planned: Planned, found: Found, rows: int | None = None) -> StageStatus:
    return StageStatus(name, found.state, planned.fingerprint, rows, found.damage)


def _shard(job: ShardJob, found: Found) -> ShardStatus:
    shard = job.shard
    return ShardStatus(shard.index, found.state, shard.rows, shard.file_name, found.damage)


def _summary(shards: list[ShardStatus]) -> str:
    if not shards:
        return "missing"
    made = sum(shard.state == "made" for shard in shards)
    return f"{made} of {len(shards)} shards made"
