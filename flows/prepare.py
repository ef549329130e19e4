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
    """Run the preflight; raises `PreflightError` with all that is wrong. Nothing is written.

    It takes milliseconds: Paddle is not imported, and so `wenti run` can afford it twice.
    """
    check(settings, find_machine_faults)


@contextmanager
def prepared(settings: Settings) -> Iterator[Plan]:
    """Give the plan of a run, whose store is in use as long as it lasts.

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
        _say_engine(plan)
        yield plan


def _say_engine(plan: Plan) -> None:
    """Say what the engine of a plan means that nobody has asked for."""
    settings = plan.settings
    if plan.engine == "fake":
        logger.warning("export.engine is fake: the questions of this run are made up")
    if settings.export.engine == "auto" and settings.export.decoding_lib is not None:
        logger.info("export.engine: auto is %s", plan.engine)
    if plan.engine == FASTER_TRANSFORMER and settings.decode.is_sampling:
        logger.warning("FasterTransformer draws by the clock: another run, other questions")
