"""Commands with which one starts: init, try.

Heavy modules are imported only by the commands that need them, so that `wenti --help` is fast.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flows.cli.options import AsJson, Config, Day, Overrides
from flows.cli.places import date_of, settings_of
from tasks.errors import InputError
from tasks.escaping import to_json

STANDARD_INPUT = "-"


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


def try_(
    config: Config,
    context: Annotated[
        str, typer.Option(metavar="TEXT", help="The passage; - reads it from standard input.")
    ],
    answer: Annotated[str, typer.Option(metavar="TEXT", help="The answer to ask for.")],
    overrides: Overrides = None,
    day: Day = None,
    as_json: AsJson = False,
) -> None:
    """Generate the questions for one passage; the model is exported unless the store has it."""
    from flows.cli.console import follow
    from flows.cli.tables.preview import print_trial
    from flows.prepare import prepared
    from tasks.config.loading import find_config
    from tasks.preview.trial import ensure_export, read_passage, settings_for, try_passage
    from tasks.store.claims import Claims

    settings = settings_of(config, overrides, day)
    passage = read_passage(settings, _read(context), answer)
    with (
        follow(),
        settings_for(settings, passage) as alone,
        prepared(alone, find_config(config), delivers=False) as plan,
        Claims(plan.store.claims_folder).beating() as claims,
    ):
        ensure_export(plan, claims)
        trial = try_passage(plan, passage)
    if as_json:
        typer.echo(to_json(trial.as_dict()))
    else:
        print_trial(trial)


def _read(text: str) -> str:
    """Return a text, or what standard input has if it is `-`, without the last line break."""
    if text != STANDARD_INPUT:
        return text
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8: {error}; convert it with iconv") from error
