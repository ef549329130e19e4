"""Commands that make something: run, rerun, serve, export; and doctor, which checks if they can.

Heavy modules are imported only by the commands that need them, so that `wenti --help` is fast;
Prefect is imported inside `connected()` or `hosted()`, which set its defaults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import (
    STORE,
    AsJson,
    Config,
    Day,
    Overrides,
    RunName,
    StorePath,
    date_of,
    settings_of,
)
from tasks.errors import UnusableError
from tasks.escaping import to_json, visible


def run(
    config: Config, overrides: Overrides = None, day: Day = None, as_json: AsJson = False
) -> None:
    """Export the model, load the passages, predict what is missing, aggregate; print a summary."""
    from flows.cli.console import follow
    from flows.prepare import check_settings
    from flows.server.connection import connected
    from tasks.config.loading import find_config
    from tasks.config.overrides import parse_overrides

    check_settings(settings_of(config, overrides, day), find_config(config))
    with follow(), connected():
        from flows.question_generation import question_generation

        values, _no_faults = parse_overrides(overrides or [])
        result = question_generation(config, date_of(day), values)
    _print_result(result, as_json)


def rerun(
    run_name: RunName,
    shards: Annotated[
        str | None, typer.Option(metavar="3,7", help="Only these shards; ranges such as 3-7.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only shards that failed in that run.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Remake them even if the store has them.")
    ] = False,
    store: StorePath = STORE,
    as_json: AsJson = False,
) -> None:
    """Remake what is missing from a run, or chosen shards of it, with the config of that run."""
    from flows.cli.console import follow
    from flows.prepare import check_settings
    from flows.server.connection import connected
    from tasks.operations.rerun import parse_shards, plan_rerun
    from tasks.store.layout import Store

    # Find the faults that need no Prefect before a server is started.
    again = plan_rerun(run_name, Store(store), parse_shards(shards), failed, force)
    check_settings(again.settings)
    with follow(), connected():
        from flows.question_generation import rerun as rerun_flow

        result = rerun_flow(run_name, str(store), shards or "", failed, force)
    _print_result(result, as_json)


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    from flows.cli.tables.runs import print_summary

    if as_json:
        typer.echo(to_json(result))
    else:
        print_summary(Path(result["folder"]), result["metrics"])


def serve(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Deployments to serve.", show_default="all"),
    ] = None,
    file: Annotated[Path, typer.Option(help="File with the deployments.")] = Path("prefect.yaml"),
    limit: Annotated[int, typer.Option(min=1, help="Maximum concurrent runs.")] = 1,
    secret: Annotated[
        bool, typer.Option(help="Whether a server that it starts asks for a secret.")
    ] = True,
) -> None:
    """Serve the deployments: start their runs on schedule and from Prefect's UI."""
    from flows.cli.console import follow
    from flows.server.hosting import hosted

    with follow(), hosted(secret):
        from flows.deployments import serve_deployments

        serve_deployments(file, names or [], limit)


def export(config: Config, overrides: Overrides = None, day: Day = None) -> None:
    """Export the model only, as a static graph with the search inside."""
    from flows.cli.console import follow
    from flows.prepare import prepared
    from tasks.config.loading import find_config
    from tasks.store.claims import Claims

    with follow():
        from tasks.export.task import export_model

        with (
            prepared(settings_of(config, overrides, day), find_config(config)) as plan,
            Claims(plan.store.claims_folder).beating() as claims,
        ):
            result = export_model(plan, claims)
    typer.echo(visible(f"{result}\n{plan.export.folder}"))


def doctor(
    config: Config, overrides: Overrides = None, day: Day = None, as_json: AsJson = False
) -> None:
    """Check that this machine has everything a config needs; exit code 2 if it cannot run here."""
    from flows.cli.doctor import can_run, examine, findings_as_json, print_findings
    from tasks.config.loading import find_config

    findings = examine(settings_of(config, overrides, day), find_config(config))
    if as_json:
        typer.echo(findings_as_json(findings))
    else:
        print_findings(findings, config)
    if not can_run(findings):
        raise typer.Exit(UnusableError.exit_code)
