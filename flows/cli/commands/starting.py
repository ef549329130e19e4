"""Commands for a config of one's own: init.

Heavy modules are imported only by the commands that need them, so that `wenti --help` is fast.
"""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.places import date_of


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the config.")] = "questions",
    data: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="DATA", help="Your passages: find their fields, and what is rejected."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Folder of your model, or the name of one."),
    ] = None,
) -> None:
    """Write configs/NAME.yaml and prefect.yaml in this folder; nothing is asked or overwritten."""
    from flows.cli.tables.starting import print_job
    from tasks.scaffold.job import plan_job

    job = plan_job(name, data, model, date_of(None))
    print_job(job, job.write())
