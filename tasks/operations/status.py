"""Which checkpoints of a config or a run the store has, by stage and shard; nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path, PurePath
from typing import Any

from tasks.config.loading import (
    find_config,
    is_config,
    load_settings,
    show_config_folders,
    suggest_config,
)
from tasks.config.paths import with_date
from tasks.config.settings import Settings
from tasks.doctor.preflight import check
from tasks.errors import InputError
from tasks.load.parts import DatasetDetails
from tasks.operations.checkpoints import Checkpoints
from tasks.plan.model import find_model
from tasks.plan.plan import make_plan, open_store
from tasks.predict.shards import Shard, find_shards
from tasks.runs.find import find_run, get_state, read_records, settings_of_run
from tasks.runs.journal import JOURNAL_FILE, ShardHistory, read_journal
from tasks.runs.state import RunState
from tasks.store.claims import Owner
from tasks.store.layout import Store
from tasks.store.manifest import Found

IN_WORK = "in work"


@dataclass(frozen=True)
class StageStatus:
    """The state of a stage: `made`, `in work`, `missing`, `damaged`, or how many shards are made.

    `owner` is who is making it.
    """

    name: str
    state: str
    fingerprint: str
    rows: int | None = None
    damage: str | None = None
    owner: Owner | None = None


@dataclass(frozen=True)
class ShardStatus:
    """The state of a shard, and what the last run that touched it did.

    Attributes:
        index: number of the shard.
        state: `reused` or `made` if the store has it; `in work` while a run is making it; else
            `failed` in the last run, `damaged` or `missing`.
        rows: planned number of rows.
        file: name of the shard's file.
        attempts: the number of attempts of the last run.
        last_error: the last error of the last run, even if a later attempt succeeded.
        damage: what is damaged; None if nothing is.
        owner: who is making it; None if nobody is.
    """

    index: int
    state: str
    rows: int
    file: str
    attempts: int = 0
    last_error: str | None = None
    damage: str | None = None
    owner: Owner | None = None


@dataclass(frozen=True)
class Status:
    """The state of all stages, and of the shards if the dataset exists, which decides them.

    `run` is the state of the run, if a run was asked for.
    """

    stages: list[StageStatus]
    shards: list[ShardStatus] = field(default_factory=list)
    run: RunState | None = None

    @property
    def damages(self) -> list[str]:
        """What is damaged, one sentence each."""
        found = [stage.damage for stage in self.stages] + [shard.damage for shard in self.shards]
        return [damage for damage in found if damage]

    def as_dict(self) -> dict[str, Any]:
        """Return the content as plain JSON types."""
        return {
            "run": self.run and asdict(self.run),
            "stages": [_as_dict(stage) for stage in self.stages],
            "shards": [_as_dict(shard) for shard in self.shards],
        }


def _as_dict(status: StageStatus | ShardStatus) -> dict[str, Any]:
    return {**vars(status), "owner": status.owner and status.owner.model_dump()}


def find_status(
    name: str, store: Store, overrides: list[str], day: date, config: Path | None = None
) -> Status:
    """Return the status of a config on a day, or of a run, whichever `name` refers to.

    Args:
        name: of a config or of a run, as in `tasks.runs.find.find_run`.
        store: where a run is looked for.
        overrides: of the config; a run with overrides is looked up as a new run of its config.
        day: what `{date}` in a path of the config stands for.
        config: `latest` and `newest` are runs of this config file; None: of any.

    Raises:
        ConfigError: the config cannot be used.
        InputError: there is neither a config nor a run of this name, or the passages cannot be
            identified.
        PreflightError: a file that the config names is missing, or settings are incompatible.
        StoreCorruptionError: the run's run.json cannot be read.
    """
    if is_config(name):
        return get_status(with_date(load_settings(find_config(name), overrides), day))
    try:
        folder = find_run(name, store, config)
    except InputError as error:
        nor = f"nor is there a config of this name in {show_config_folders()}"
        raise InputError(f"{error}; {nor}; {suggest_config(name)}") from error
    if overrides:
        return get_status(settings_of_run(folder, overrides))
    return get_run_status(folder)


def get_run_status(folder: PurePath) -> Status:
    """Return the state of a run, and look up and verify every checkpoint that belongs to it.

    Raises:
        StoreCorruptionError: the run.json cannot be read.
    """
    return replace(_look_up(Checkpoints.of_run(folder)), run=get_state(folder))


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
    return _look_up(Checkpoints.of_plan(make_plan(settings, model_folder)))


def _look_up(planned: Checkpoints) -> Status:
    dataset = planned.find_dataset()
    shards: list[ShardStatus] = []
    rows = None
    if dataset.manifest is not None:
        rows = DatasetDetails.of(dataset.manifest).rows
        histories = _last_histories(planned)
        of_dataset = planned.plan_shards(dataset.manifest)
        found = find_shards(planned.shards_folder, of_dataset, planned.predictions)
        for shard, one in zip(of_dataset, found, strict=True):
            shards.append(_shard(planned, shard, one, histories))
    stages = [
        _stage("export", planned, planned.export, planned.find_export()),
        _stage("load", planned, planned.dataset, dataset, rows),
        StageStatus("predict", _summary(shards), planned.predictions, rows),
    ]
    return Status(stages, shards)


def _last_histories(planned: Checkpoints) -> dict[int, ShardHistory]:
    """Return what happened to each shard in the newest run over these shards that touched it."""
    histories: dict[int, ShardHistory] = {}
    for record in read_records(planned.store):
        if record.predictions == planned.predictions:
            histories |= read_journal(planned.store.run_folder(record.run_id) / JOURNAL_FILE)
    return histories


def _stage(
    name: str, planned: Checkpoints, fingerprint: str, found: Found, rows: int | None = None
) -> StageStatus:
    owner = None if found.manifest else planned.find_owner(fingerprint)
    state = IN_WORK if owner else found.state
    return StageStatus(name, state, fingerprint, rows, found.damage, owner)


def _shard(
    planned: Checkpoints, shard: Shard, found: Found, histories: Mapping[int, ShardHistory]
) -> ShardStatus:
    known = histories.get(shard.index, ShardHistory(found.state))
    owner = planned.find_owner(planned.predictions, shard)
    # The store decides whether it exists; the journal may be older than the store's content.
    is_there, has_failed = found.manifest is not None, known.state == "failed"
    state = known.state if is_there != has_failed else found.state
    return ShardStatus(
        index=shard.index,
        state=IN_WORK if owner and not is_there else state,
        rows=shard.rows,
        file=found.manifest.files[0].name if found.manifest else shard.file_name,
        attempts=known.attempts,
        last_error=known.last_error,
        damage=found.damage,
        owner=owner,
    )


def _summary(shards: list[ShardStatus]) -> str:
    if not shards:
        return "missing"
    made = sum(shard.state in {"made", "reused"} for shard in shards)
    in_work = sum(shard.state == IN_WORK for shard in shards)
    text = f"{made} of {len(shards)} shards made"
    return f"{text}, {in_work} in work" if in_work else text
