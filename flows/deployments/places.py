"""The places that the runs of deployments write to, looked at before any of them starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date

from flows.deployments.entries import DeploymentEntry
from flows.deployments.parameters import is_ours
from tasks.config.loading import find_config, load_settings
from tasks.config.paths import with_date
from tasks.doctor.places import find_place_faults
from tasks.errors import ConfigError
from tasks.findings import Finding


def find_place_warnings(entries: Iterable[DeploymentEntry]) -> Iterator[Finding]:
    """Yield what is wrong today with the places that the runs of deployments write to.

    They are warnings: a disk can be mounted before the next run, which looks again. Flows of the
    user's own are left out: their parameters mean something else.
    """
    for entry in entries:
        for fault in _find_faults(entry):
            yield replace(fault, key=f"{entry.name}: {fault.key}", severity="warning")


def _find_faults(entry: DeploymentEntry) -> list[Finding]:
    config, overrides = entry.parameters.get("config"), entry.parameters.get("overrides", {})
    if not (isinstance(config, str) and isinstance(overrides, Mapping)):
        return []
    if not is_ours(entry.entrypoint):
        return []
    try:
        file = find_config(config)
        settings = with_date(load_settings(file, overrides), date.today())
        return find_place_faults(settings, file)
    except ConfigError:  # told when the parameters are checked
        return []
    except OSError as error:
        return [Finding(str(error.filename or "config"), error.strerror or str(error))]
