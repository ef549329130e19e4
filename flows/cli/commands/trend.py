"""`wenti trend`: the runs of a config over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, Config
from flows.cli.places import settings_of
from tasks.errors import InputError
from tasks.escaping import to_json, visible


def trend(
    config: Config,
    most: Annotated[
        int | None,
        typer.Option("-n", "--runs", min=1, metavar="N", help="Only the newest N runs."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store", metavar="FOLDER", help="Folder of the store.", show_default="the config's"
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write charts and the table to a web page."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the runs of a config over time: rows, rejects, flags, scores, cost, and changes."""
    from flows.cli.tables.trend import print_trend
    from tasks.config.loading import find_config
    from tasks.doctor.replacing import check_replacing
    from tasks.plan.plan import open_store
    from tasks.report.trend.history import read_history
    from tasks.report.trend.page import BEGINNING, render_trend
    from tasks.store.files import commit_bytes
    from tasks.store.layout import Store

    if html is not None and as_json:
        raise InputError("give one of --html and --json")
    settings, file = settings_of(config, None, None), find_config(config)
    place = open_store(settings) if store is None else Store(store)
    if html is not None:
        check_replacing("--html", html, place.root, "a page of a trend", BEGINNING)
    history = read_history(place, file, most)
    if html is not None:
        page = render_trend(file.stem, history, settings.report.language)
        commit_bytes(html.absolute(), page.encode())
        typer.echo(visible(str(html.absolute())))
    elif as_json:
        typer.echo(to_json([run.as_dict() for run in history]))
    else:
        print_trend(history, file, place)
