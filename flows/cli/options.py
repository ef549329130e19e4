"""Arguments and options that several commands share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from flows.cli.completion import (
    complete_config,
    complete_config_or_run,
    complete_key,
    complete_run,
)
from flows.cli.places import DEFAULT_STORE

A_RUN = (
    "A run id (Wenti's or Prefect's), a run's folder, latest (the complete run that ended last), "
    "or newest (the run that started last)."
)

Config = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="Name of a config, such as demo, or a YAML file.",
        autocompletion=complete_config,
    ),
]
ConfigOrDeployments = Annotated[
    str | None,
    typer.Argument(
        metavar="CONFIG",
        help="Name of a config, such as demo, or a YAML file.",
        autocompletion=complete_config,
        show_default="the deployments",
    ),
]
ConfigOrRun = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG|RUN",
        help="Name of a config, a YAML file, or a run.",
        autocompletion=complete_config_or_run,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override a key; may be repeated.",
        autocompletion=complete_key,
    ),
]
Day = Annotated[
    datetime | None,
    typer.Option(
        "--date",
        formats=["%Y-%m-%d", "%Y%m%d"],
        metavar="DATE",
        help="The day that {date} in a path stands for; also 20261122.",
        show_default="today",
    ),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help=A_RUN, autocompletion=complete_run)]
StorePath = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FOLDER",
        help="Folder of the store, or s3://bucket/prefix, az://container/prefix.",
        show_default=DEFAULT_STORE,
    ),
]
StoreConfig = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="CONFIG",
        help="Use the store of this config; latest, newest and lists of runs are of this config.",
        autocompletion=complete_config,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
