"""What the options of a command refer to: the settings, and the store with its runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.config.settings import Settings
    from tasks.store.layout import Store

DEFAULT_STORE = "wenti-store"


@dataclass(frozen=True)
class Place:
    """Where a command looks for runs: a store, and the config that `latest` and `newest` are of."""

    store: Store
    config: Path | None = None


def place_of(store: str | None, config: str | None, day: datetime | None = None) -> Place:
    """Return the place that `--store` or `--config` names, by default wenti-store.

    Raises:
        ConfigError: the config cannot be used.
        InputError: both are given, or the address of an object store is wrong.
    """
    from tasks.addresses import place_at
    from tasks.config.loading import find_config
    from tasks.errors import InputError
    from tasks.plan.plan import open_store
    from tasks.store.layout import Store

    if config is None:
        return Place(Store(place_at(store or DEFAULT_STORE)))
    if store is not None:
        raise InputError("give --store or --config, not both: a config has a store of its own")
    return Place(open_store(settings_of(config, None, day)), find_config(config))


def settings_of(config: str, overrides: list[str] | None, day: datetime | None) -> Settings:
    """Return the settings that a command's options select.

    Raises:
        ConfigError: the config or an override cannot be used.
    """
    from tasks.config.loading import find_config, load_settings
    from tasks.config.paths import with_date

    return with_date(load_settings(find_config(config), overrides or []), date_of(day))


def date_of(day: datetime | None) -> date:
    """Return the day given by `--date`, by default today."""
    return (day or datetime.now()).date()
