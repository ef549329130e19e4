"""The places that the runs of deployments write to, looked at before any of them starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date

from flows.deployments.entries import DeploymentEntry
from tasks.config.loading import find_config, load_settings
from tasks.config.paths import with_date
from tasks.doctor.places import find_place_faults
from tasks.errors import ConfigError
from tasks.findings import Finding


def find_place_warnings(entries: Iterable[DeploymentEntry]) -> Iterator[Finding]:
    """Yield what is wrong today with the places that the runs of deployments write to.

    They are warnings: a disk can be mounted before the next run, which looks again.
    """
    for entry in entries:
        config, overrides = entry.parameters.get("config"), entry.parameters.get("overrides")
        if not isinstance(config, str):
            continue
        file = find_config(config)
        try:
            settings = with_date(load_settings(file, overrides or {}), date.today())
        except ConfigError:  # of a flow of the user's own, whose config is another
            continue
        for fault in find_place_faults(settings, file):
            yield replace(fault, key=f"{entry.name}: {fault.key}", severity="warning")
