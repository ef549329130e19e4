"""Checking a run against the section `quality` of its config."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.aggregate.gate.drift import find_drift
from tasks.aggregate.gate.limits import Breach, Level, find_breaches, find_emptiness
from tasks.config.settings import QualitySettings
from tasks.errors import SuspectError
from tasks.plan.plan import Plan
from tasks.runs.find import find_first_try, find_previous
from tasks.runs.metrics import read_metrics
from tasks.runs.record import RunRecord
from tasks.runs.run import Run
from tasks.runs.state import is_suspect

logger = logging.getLogger("wenti.aggregate")

ACCEPT = "to accept this level, run again with `--set quality.max_drift=null`"


def check_quality(plan: Plan, run: Run, metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Check a run against the limits of its config; log what is beyond them.

    Args:
        plan: what the run makes.
        run: the run.
        metrics: its `quality`, and its numbers of rows.

    Returns:
        For metrics.json: `since`, the id of the run that this one was compared with, and
        `breaches`, what is beyond the limits (`tasks.aggregate.gate.limits.Breach`). None if the
        config has no limits, unless it has dropped every question.
    """
    limits, level = plan.settings.quality, Level.of(metrics)
    asked = limits.model_dump(exclude={"on_breach"}, exclude_none=True)
    empty = list(find_emptiness(metrics))
    if level is None or not (asked or empty):
        return None
    if limits.min_mean_score is not None and level.score is None:
        logger.warning("quality.min_mean_score is not checked: there are no scores")
    breaches, since = [*empty, *find_breaches(limits, level)], None
    if limits.max_drift is not None:
        since, before = find_good_run(plan, run)
        drift = [] if before is None else list(find_drift(limits.max_drift, level, before))
        breaches += drift
        if drift:
            logger.warning("compared with run %s; %s", since, ACCEPT)
    for breach in breaches:
        logger.warning("suspect: %s", breach)
    return {"since": since, "breaches": [asdict(breach) for breach in breaches]}


def find_good_run(plan: Plan, run: Run) -> tuple[str | None, Level | None]:
    """Return the run that `max_drift` compares with, and its level; None if there is none.

    It is the newest run of the config that is complete, with all shards, and not suspect. Tries
    with `dataset.limit`, and rehearsals with made-up questions, are compared with their like. A
    rerun is compared with what the run that it repeats was compared with.
    """
    ours = run.record

    def is_good(record: RunRecord) -> bool:
        return record.is_good and record.kind == ours.kind

    if ours.config_file is None:
        return None, None
    first = find_first_try(plan.store, ours)
    record = find_previous(plan.store, Path(ours.config_file), first, is_good)
    level = None if record is None else Level.of(read_metrics(plan.store.run_folder(record.run_id)))
    if record is None or level is None:
        logger.info("quality.max_drift: there is no earlier good run of this config")
        return None, None
    return record.run_id, level


def read_breaches(metrics: Mapping[str, Any]) -> list[Breach]:
    """Return what is beyond the limits of a run's config, by its metrics."""
    return [Breach(**one) for one in (metrics.get("gate") or {}).get("breaches", ())]


def is_failing(limits: QualitySettings, metrics: Mapping[str, Any]) -> bool:
    """Return whether a run fails because it is suspect."""
    return limits.on_breach == "fail" and is_suspect(metrics)


def raise_if_suspect(plan: Plan, run: Run, metrics: Mapping[str, Any]) -> None:
    """Raise if a run fails because it is suspect.

    Raises:
        SuspectError: says where the results are, and what is beyond the limits.
    """
    if is_failing(plan.settings.quality, metrics):
        raise suspicion(run, metrics)


def suspicion(run: Run, metrics: Mapping[str, Any]) -> SuspectError:
    """Return the error of a run that fails because it is suspect."""
    told = [f"  - {breach}" for breach in read_breaches(metrics)]
    since = metrics["gate"]["since"]
    compared = f", compared with run {since}" if since else ""
    name = run.record.run_id
    remedy = (
        f"nothing was written outside of the store; look at them with `wenti report {name}` and "
        f"`wenti show {name}`, and run again with `--set quality.on_breach=warn` to take them as "
        "they are"
    )
    head = f"the questions in {run.folder} are suspect{compared}:"
    return SuspectError("\n".join([head, *told, remedy]))
