"""How a run is known in Prefect: a name that somebody has typed, and its tags."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from coolname.data import config as word_lists
from prefect import get_client
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from flows.server.settings import few_retries
from tasks.config.settings import Settings
from tasks.escaping import encodable
from tasks.outages import tolerate_outage

logger = logging.getLogger("wenti.flow")

# Prefect's server names a run with two words of coolname, and the form of its UI with one of these
# and a dish of at most six characters.
_OF_THE_FORM = frozenset(
    {
        *("Awesome", "Ergonomic", "Fantastic", "Generic", "Gorgeous", "Handcrafted", "Handmade"),
        *("Incredible", "Intelligent", "Licensed", "Practical", "Refined", "Rustic", "Sleek"),
        *("Small", "Tasty", "Unbranded"),
    }
)
_LONGEST_DISH = 6
RETRIES = 1  # of a call to a server that is away; the work waits for it
_LISTS: Mapping[str, Any] = word_lists
_OF_THE_SERVER = frozenset(word for one in _LISTS.values() for word in one.get("words", ()))


def typed_name() -> str | None:
    """Return the name that somebody has given to this run; None if Prefect has made one up.

    A retry has the name that the first try got.
    """
    name = flow_run.name
    return None if not name or is_generated(name) else str(name)


def is_generated(name: str) -> bool:
    """Return whether a run's name is one that Prefect makes up."""
    first, _hyphen, last = name.partition("-")
    if first in _OF_THE_FORM:
        return 0 < len(last) <= _LONGEST_DISH
    return {first, last} <= _OF_THE_SERVER


def tag_run(settings: Settings, config: Path | None, day: date | None = None) -> None:
    """Tag this run with its config, its model and its day, so that runs can be filtered by them.

    Without an answer of the server, which is not waited for, the run goes on without them.
    """
    model = PurePath(settings.model.model_name_or_path).name
    parts = {"config": config and config.stem, "model": model, "day": day}
    ours = {encodable(f"{name}:{value}") for name, value in parts.items() if value}
    tags = [*flow_run.tags, *sorted(ours - {*flow_run.tags})]
    consequence = "the run has no tags: Prefect's server does not take them"
    with (
        tolerate_outage(logger, consequence, PrefectException),
        few_retries(RETRIES),
        get_client(sync_client=True) as client,
    ):
        client.update_flow_run(UUID(flow_run.id), tags=tags)
