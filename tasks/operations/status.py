"""Which checkpoints of a config the store has, by stage and shard; nothing is computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from tasks.config.loading import find_config, is_config, load_settings
from tasks.config.paths import with_date
from tasks.config.settings import Settings
from tasks.doctor.preflight import check
from tasks.load.parts import DatasetDetails
from tasks.plan.model import find_model
from tasks.plan.plan import Plan, PlannedCheckpoint, make_plan, open_store
from tasks.predict.jobs import ShardJob, look_up, plan_jobs
from tasks.runs.find import find_run, read_records, settings_of_run
from tasks.runs.journal import JOURNAL_FILE, ShardHistory, read_journal
from tasks.store.layout import Store
from tasks.store.manifest import Found, Manifest


@dataclass(frozen=True)
class StageStatus:
    """The state of a stage: `made`, `missing`, `damaged`, or how many shards are made."""

    name: str
    state: str
    fingerprint: str
    rows: int | None = None
    damage: str | None = None


@dataclass(frozen=True)
class ShardStatus:
    """The state of a shard, and what the last run that touched it did.

    Attributes:
        index: number of the shard.
        state: `reused` or `made` if the store has it; else `failed` in the last run, `damaged` or
            `missing`.
        rows: planned number of rows.
        file: name of the shard's file.
        attempts: the number of attempts of the last run.
        last_error: the last error of the last run, even if a later attempt succeeded.
        damage: what is damaged; None if nothing is.
    """

    index: int
    state: str
    rows: int
    file: str
    attempts: int = 0
    last_error: str | None = None
    damage: str | None = None


@dataclass(frozen=True)
class Status:
    """The state of all stages, and of the shards if the dataset exists, which decides them."""

    stages: list[StageStatus]
    shards: list[ShardStatus] = field(default_factory=list)

    @property
    def damages(self) -> list[str]:
        """What is damaged, one sentence each."""
        found = [stage.damage for stage in self.stages] + [shard.damage for shard in self.shards]
        return [damage for damage in found if damage]

    def as_dict(self) -> dict[str, Any]:
        """Return the content as plain JSON types."""
        return asdict(self)


def settings_of(name: str, store: Store, overrides: list[str], day: date) -> Settings:
    """Return the settings of a config on a day, or of a run, whichever `name` refers to.

    Raises:
        ConfigError: the config cannot be used.
        InputError: there is neither a config nor a run of this name.
    """
    if is_config(name):
        return with_date(load_settings(find_config(name), overrides), day)
    return settings_of_run(find_run(name, store), overrides)


def get_status(settings: Settings) -> Status:
    """Look up and verify every checkpoint of a config.

    Raises:
        PreflightError: a file that the settings name is missing, or settings are incompatible.
        InputError: the passages cannot be identified.
        OSError: a file of the model cannot be read.
    """
    check(settings)
    store = open_store(settings)
    model_folder = find_model(settings, store)
    if model_folder is None:
        return Status([StageStatus("model", "missing: the first run downloads it", "")])
    plan = make_plan(settings, model_folder)
    dataset = plan.dataset.find()
    rows = DatasetDetails.of(dataset.manifest).rows if dataset.manifest else None
    shards = _shard_statuses(plan, dataset.manifest) if dataset.manifest else []
    stages = [
        _stage("export", plan.export, plan.export.find()),
        _stage("load", plan.dataset, dataset, rows),
        StageStatus("predict", _summary(shards), plan.predictions.fingerprint, rows),
    ]
    return Status(stages, shards)


def _shard_statuses(plan: Plan, dataset: Manifest) -> list[ShardStatus]:
    histories = _last_histories(plan)
    jobs = plan_jobs(plan, dataset)
    return [_shard(job, look_up(job), histories.get(job.shard.index)) for job in jobs]


def _last_histories(plan: Plan) -> dict[int, ShardHistory]:
    """Return what happened to each shard in the newest run of this plan that touched it."""
    histories: dict[int, ShardHistory] = {}
    for record in read_records(plan.store):
        if record.predictions == plan.predictions.fingerprint:
            histories |= read_journal(plan.store.run_folder(record.run_id) / JOURNAL_FILE)
    return histories


def _stage(
    name: str, planned: PlannedCheckpoint, found: Found, rows: int | None = None
) -> StageStatus:
    return StageStatus(name, found.state, planned.fingerprint, rows, found.damage)


def _shard(job: ShardJob, found: Found, history: ShardHistory | None) -> ShardStatus:
    shard, known = job.shard, history or ShardHistory(found.state)
    # The store decides whether it exists; the journal may be older than the store's content.
    is_there, has_failed = found.manifest is not None, known.state == "failed"
    return ShardStatus(
        index=shard.index,
        state=known.state if is_there != has_failed else found.state,
        rows=shard.rows,
        file=found.manifest.files[0].name if found.manifest else shard.file_name,
        attempts=known.attempts,
        last_error=known.last_error,
        damage=found.damage,
    )


def _summary(shards: list[ShardStatus]) -> str:
    if not shards:
        return "missing"
    made = sum(shard.state in {"made", "reused"} for shard in shards)
    return f"{made} of {len(shards)} shards made"
