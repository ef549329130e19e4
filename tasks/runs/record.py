"""The content of run.json: what a run was asked to do, what it was made from, how it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from tasks.escaping import shorten_list


def describe_passages(given: str | list[str] | None) -> str | None:
    """Return `dataset.predict_file` as text, a long list shortened; None for a named data set."""
    return shorten_list(given) if isinstance(given, list) else given


def _check_time(text: str) -> str:
    """Return a time as it is given; what reads a record relies on its form."""
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its time zone")
    return text


Time = Annotated[str, AfterValidator(_check_time)]
"""A time of ISO 8601 with its time zone."""


class StageStart(BaseModel):
    """When a stage started, in seconds from the run's start, and whether its result was reused.

    `reused` is None for predict, which reuses single shards, and aggregate, which reuses nothing.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    started: float
    reused: bool | None = None


class RunRecord(BaseModel):
    """The content of a run.json; its keys are written in this order, and only those that are set.

    Keys of other versions of Wenti are kept. Every version has written the keys without a default.

    Attributes:
        run_id: id of the run, the name of its folder.
        state: `running`, `completed`, `failed` or `interrupted`.
        started: in UTC, ISO 8601.
        process: id of the process that executes the run.
        config: every key of the config, by section.
        export: fingerprint of the exported model.
        dataset: fingerprint of the dataset.
        predictions: fingerprint of the shards.
        columns: fingerprint of the kept columns of the input; None if none are kept.
        rows_per_shard: number of rows of a shard.
        model_folder: absolute path.
        decided_by: what each of the three fingerprints is computed from.
        versions: of Python and of packages.
        flow_run_id: Prefect's id of the run, which a retry keeps.
        rerun_of: id of the run that this one repeats.
        config_file: absolute path.
        stages: when each stage started, by its name.
        ended: in UTC, ISO 8601.
        partial: whether the results lack the rows of failed shards.
        rows_missing: the number of these rows.
        suspect: whether the questions are beyond a limit of `quality`. A run that failed for it
            has results, but without `_SUCCESS`.
        error: why the run failed or was interrupted.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    run_id: str
    state: str
    started: Time
    process: int | None = None
    config: dict[str, dict[str, Any]] = {}
    export: str
    dataset: str
    predictions: str
    columns: str | None = None
    rows_per_shard: int | None = None
    model_folder: str | None = None
    decided_by: dict[str, dict[str, Any]] | None = None
    versions: dict[str, str] = {}
    flow_run_id: str | None = None
    rerun_of: str | None = None
    config_file: str | None = None
    stages: dict[str, StageStart] = {}
    ended: str | None = None
    partial: bool = False
    rows_missing: int = 0
    suspect: bool = False
    error: str | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprints of the run's checkpoints, by `export`, `dataset` and `predictions`."""
        return {"export": self.export, "dataset": self.dataset, "predictions": self.predictions}

    @property
    def passages(self) -> str | None:
        """`dataset.predict_file` as text; None for a named data set."""
        return describe_passages(self.config.get("dataset", {}).get("predict_file"))

    @property
    def kind(self) -> tuple[object, bool]:
        """What runs of a config must have in common to be compared.

        `dataset.limit`, which is set for a try, and whether the questions are made up.
        """
        return self.limit, self.is_made_up

    @property
    def limit(self) -> object:
        """`dataset.limit`, which is set for a try; None without."""
        return self.config.get("dataset", {}).get("limit")

    @property
    def is_withheld(self) -> bool:
        """Whether the run has results that were delivered to nobody, because they are suspect."""
        return self.state == "failed" and self.suspect

    @property
    def is_made_up(self) -> bool:
        """Whether the fake engine made the questions."""
        return (self.decided_by or {}).get("export", {}).get("engine") == "fake"

    @property
    def is_good(self) -> bool:
        """Whether a complete run can be a measure for others: it is neither partial nor suspect."""
        return not self.partial and not self.suspect

    def as_dict(self) -> dict[str, Any]:
        """Return the keys and values of run.json."""
        return self.model_dump(exclude_unset=True)
