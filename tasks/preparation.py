"""From settings to a plan: the preflight, the model, the fingerprints."""

from __future__ import annotations

from tasks.child import call_in_child
from tasks.engine.devices import find_device_faults
from tasks.model import get_model
from tasks.plan import Plan, make_plan, open_store
from tasks.preflight import check
from tasks.settings import Settings


def check_settings(settings: Settings) -> None:
    """Run the preflight; raises `PreflightError` with all that is wrong. Nothing is written."""
    check(settings, lambda devices: call_in_child(find_device_faults, devices))


def prepare(settings: Settings) -> Plan:
    """Give the plan of a run; a model that is known by name only is downloaded first.

    Raises:
        PreflightError: what the settings name is not there or does not go together.
        ModelError: PaddleNLP cannot get the model.
    """
    check_settings(settings)
    return make_plan(settings, get_model(settings, open_store(settings)))
