"""What the shell completes: configs, keys after `--set`, runs. `wenti --install-completion`."""

from __future__ import annotations

from collections.abc import Iterator

import typer


def complete_config(incomplete: str) -> list[str]:
    """Return the names of configs that start with a text."""
    from tasks.config.loading import list_configs

    return [name for name in list_configs() if name.startswith(incomplete)]


def complete_key(incomplete: str) -> list[str]:
    """Return the keys of a config that start with a text, each with `=`."""
    from tasks.config.describe import known_keys

    keys = (key for section in known_keys(()) for key in _keys_below([section]))
    return [f"{key}=" for key in keys if key.startswith(incomplete)]


def _keys_below(parents: list[str]) -> Iterator[str]:
    """Yield the keys below a section, or a key that has keys of its own, such as `fields`."""
    from tasks.config.describe import known_keys

    for name in known_keys(parents):
        yield ".".join((*parents, name))
        yield from _keys_below([*parents, name])


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return `latest`, `newest` and the ids of runs that start with a text, newest first."""
    from flows.cli.places import place_of
    from tasks.errors import WentiError
    from tasks.runs.find import list_runs
    from tasks.store.layout import LATEST, NEWEST

    store, config = ctx.params.get("store"), ctx.params.get("config")
    try:
        place = place_of(store, config)
    except WentiError:
        return []
    ids = [folder.name for folder in reversed(list_runs(place.store))]
    return [name for name in (LATEST, NEWEST, *ids) if name.startswith(incomplete)]


def complete_config_or_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the configs and runs that start with a text."""
    return [*complete_config(incomplete), *complete_run(ctx, incomplete)]
