"""Arguments and options that several commands share."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tasks.config.settings import Settings

STORE = Path("wenti-store")
A_RUN = "A run id (Wenti's or Prefect's), a run's folder, or latest."

Config = Annotated[str, typer.Argument(help="Name of a config, such as demo, or a YAML file.")]
ConfigOrRun = Annotated[
    str, typer.Argument(metavar="CONFIG|RUN", help="Name of a config, a YAML file, or a run.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key; may be repeated."),
]
Day = Annotated[
    datetime | None,
    typer.Option(
        "--date",
        formats=["%Y-%m-%d"],
        help="The day that {date} in a path stands for.",
        show_default="today",
    ),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help=A_RUN)]
StorePath = Annotated[Path, typer.Option(help="Folder of the store.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


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
