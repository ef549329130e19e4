"""From settings to a plan: the preflight, the model, the fingerprints."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.config.settings import Settings
from tasks.doctor.diagnosis import find_machine_faults
from tasks.doctor.outputs import check_deliveries
from tasks.doctor.preflight import check, find_model_warnings
from tasks.engine.faster_transformer.compatibility import FASTER_TRANSFORMER
from tasks.engine.paddle.installation import describe_paddle, find_version, plans_for_nodes
from tasks.errors import PreflightError
from tasks.findings import Finding
from tasks.passages.input import Input
from tasks.plan.changes import find_changes
from tasks.plan.model import Download, find_position_faults, get_model
from tasks.plan.plan import Plan, make_plan, open_store
from tasks.predict.shards import has_shards
from tasks.runs.find import find_previous
from tasks.runs.record import describe_passages
from tasks.store.lock import shared_lock

logger = logging.getLogger("wenti.preparation")


def check_settings(
    settings: Settings, config: Path | None = None, *, delivers: bool = True
) -> None:
    """Run the preflight; `config` is the file of the settings.

    It writes nothing but, with `delivers`, an object beside each address of results, which it
    deletes. It takes milliseconds, because Paddle is not imported, so `wenti run` can afford it
    twice.

    Raises:
        PreflightError: something is wrong; lists everything.
    """

    def find_faults(settings: Settings) -> list[Finding]:
        found = check_deliveries(settings) if delivers else []
        faults = [one for one in found if one.severity == "fault"]
        return [*find_machine_faults(settings, config), *faults]

    check(settings, find_faults)


@contextmanager
def prepared(
    settings: Settings,
    config: Path | None = None,
    download: Download | None = None,
    *,
    delivers: bool = True,
) -> Iterator[Plan]:
    """Yield the plan of a run of `config`, holding the store's shared lock in the block.

    A model given by name is downloaded first, by `download` if it is given. Without `delivers`, the
    addresses of results are not tried.

    Raises:
        PreflightError: something that the settings name is missing, or settings are incompatible.
        InputError: the passages cannot be identified.
        DownloadError, ModelError: PaddleNLP cannot download the model.
        StorageError: the store cannot be written.
    """
    check_settings(settings, config, delivers=delivers)
    store = open_store(settings)
    with shared_lock(store):
        for warning in find_model_warnings(settings):
            logger.warning("%s", warning)
        model = get_model(settings, store, download)
        if faults := find_position_faults(settings, model):
            raise PreflightError("the config", faults)
        plan = make_plan(settings, model)
        _log_passages(plan)
        _log_engine(plan)
        yield plan


def _log_passages(plan: Plan) -> None:
    """Log which fields of the passages are read."""
    found = Input.of(plan.settings.dataset)
    if isinstance(found, Input):
        if choice := found.find_choice():
            logger.warning("%s", choice)
        else:
            logger.info("passages: %s", found.describe())
    if (limit := plan.settings.dataset.limit) is not None:
        logger.info("passages: only the first %d usable rows (dataset.limit)", limit)


def _log_engine(plan: Plan) -> None:
    """Log what a user may not expect of the plan's engine."""
    settings = plan.settings
    if plans_for_nodes():
        paddle, nlp = describe_paddle(), find_version("paddlenlp")
        logger.info("planned with %s and PaddleNLP %s of the nodes", paddle, nlp)
    if plan.engine == "fake":
        logger.warning("export.engine is fake: the questions of this run are made up")
    if settings.export.engine == "auto" and settings.export.decoding_lib is not None:
        logger.info("export.engine: auto is %s", plan.engine)
    if plan.engine == FASTER_TRANSFORMER and settings.decode.is_sampling:
        logger.warning(
            "FasterTransformer sampling is not reproducible: each run gives different questions"
        )


def log_changes(plan: Plan, config: Path) -> None:
    """Log what has changed since the last complete run of a config file, and what follows."""
    before = find_previous(plan.store, config)
    if before is None or before.decided_by is None:
        return
    is_there = {
        "export": plan.export.is_there,
        "dataset": plan.dataset.is_there,
        "predictions": has_shards(plan.predictions.folder),
    }
    files = (before.passages, describe_passages(plan.settings.dataset.predict_file))
    changes = find_changes(before.decided_by, plan.decided_by, is_there, files)
    if changes:
        logger.info("since run %s:", before.run_id)
    for change in changes:
        logger.info("  %s", change)
