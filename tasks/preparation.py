"""From settings to a plan: the preflight, the model, the fingerprints."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.child import call_in_child
from tasks.engine.devices import find_device_faults
from tasks.model import get_model
from tasks.plan import Plan, make_plan, open_store
from tasks.preflight import check
from tasks.settings import Settings
from tasks.store_lock import using

logger = logging.getLogger("wenti.preparation")


def check_settings(settings: Settings) -> None:
    """Run the preflight; raises `PreflightError` with all that is wrong. Nothing is written."""
    check(settings, lambda devices: call_in_child(find_device_faults, devices))


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
    if settings.export.engine_name == "fake":
        logger.warning("export.engine is fake: the questions of this run are made up")
    store = open_store(settings)
    with using(store):
        yield make_plan(settings, get_model(settings, store))
