"""The command that gives the results of a run to other programs: export-results."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import AsJson, RunName, StoreConfig, StorePath
from flows.cli.places import place_of
from tasks.conversion.target import Target
from tasks.escaping import to_json


def export_results(
    run_name: RunName,
    target: Annotated[
        Target,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="squad (its JSON, version 1.1), csv (for spreadsheets), label-studio (tasks with "
            "predictions) or one-per-question (lines of JSON).",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The file to write, s3://bucket/key or az://container/key; one that this command "
            "has written is replaced.",
            show_default="named after the run, in this folder",
        ),
    ] = None,
    store: StorePath = None,
    config: StoreConfig = None,
    as_json: AsJson = False,
) -> None:
    """Write the questions of a run, alternatives too, into a file for other programs."""
    from flows.cli.tables.conversion import print_converted
    from tasks.addresses import place_at
    from tasks.conversion.convert import convert_run
    from tasks.runs.find import find_results

    place = place_of(store, config)
    file = None if output is None else place_at(output)
    found = convert_run(find_results(run_name, place.store, place.config), target, file)
    if as_json:
        typer.echo(to_json(found.as_dict()))
    else:
        print_converted(found)
