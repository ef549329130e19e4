"""From settings to a plan: the preflight, the model, the fingerprints."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.config.settings import Settings
from tasks.doctor.diagnosis import find_machine_faults
from tasks.doctor.preflight import check
from tasks.engine.faster_transformer.compatibility import FASTER_TRANSFORMER
from tasks.plan.model import get_model
from tasks.plan.plan import Plan, make_plan, open_store
from tasks.store.lock import shared_lock

logger = logging.getLogger("wenti.preparation")


def check_settings(settings: Settings) -> None:
    """Run the preflight; raise a `PreflightError` with everything that is wrong. Write nothing.

    It takes milliseconds, as Paddle is not imported, so `wenti run` can afford it twice.
    """
    check(settings, find_machine_faults)


@contextmanager
def prepared(settings: Settings) -> Iterator[Plan]:
    """Return the plan of a run, and hold its store in use as long as the block lasts.

    A model that is known by name only is downloaded first.

    Raises:
        PreflightError: what the settings name is not there or does not go together.
        ModelError: PaddleNLP cannot get the model.
        StorageError: the store cannot be written.
    """
    check_settings(settings)
    store = open_store(settings)
    with shared_lock(store):
        plan = make_plan(settings, get_model(settings, store))
        _log_engine(plan)
        yield plan


def _log_engine(plan: Plan) -> None:
    """Log what the user may not expect of the engine of a plan."""
    settings = plan.settings
    if plan.engine == "fake":
        logger.warning("export.engine is fake: the questions of this run are made up")
    if settings.export.engine == "auto" and settings.export.decoding_lib is not None:
        logger.info("export.engine: auto is %s", plan.engine)
    if plan.engine == FASTER_TRANSFORMER and settings.decode.is_sampling:
        logger.warning(
            "FasterTransformer sampling is not reproducible: each run gives different questions"
        )
