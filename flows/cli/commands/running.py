"""Commands that make something: run, rerun, serve, export; and doctor, which checks if they can.

Heavy modules are imported only by the commands that need them, so that `wenti --help` is fast;
Prefect is imported inside `fork_early()`, `connected()` or `hosted()`, which set its defaults.
"""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import (
    AsJson,
    Config,
    ConfigOrDeployments,
    Day,
    Overrides,
    RunName,
    StoreConfig,
    StorePath,
)
from flows.cli.places import date_of, place_of, settings_of
from tasks.addresses import place_at
from tasks.environment import importing, keep_pandas_out
from tasks.errors import UnusableError
from tasks.escaping import to_json, visible

if TYPE_CHECKING:
    from tasks.config.settings import Settings

PREFECT_YAML = Path("prefect.yaml")
DeploymentsFile = Annotated[Path, typer.Option(metavar="FILE", help="File with the deployments.")]


def run(
    config: Config,
    overrides: Overrides = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only the first N usable rows: dataset.limit."),
    ] = None,
    day: Day = None,
    is_dry: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say what would be made, and how long it would take."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Export the model, load the passages, predict what is missing, aggregate; print a summary."""
    with importing():
        from flows.cli.console import follow
        from flows.server.connection import connected
        from flows.server.temporary.server import fork_early
        from tasks.config.loading import find_config
        from tasks.config.overrides import parse_overrides

    day = day or datetime.now()  # the same day for both, even at midnight
    overrides = [*(overrides or []), *([] if limit is None else [f"dataset.limit={limit}"])]
    settings = settings_of(config, overrides, day)
    if not is_dry:
        fork_early()
    with importing():
        from flows.prepare import check_settings

    check_settings(settings, find_config(config), delivers=not is_dry)
    if is_dry:
        _print_dry_run(settings, as_json)
        return
    values, _no_faults = parse_overrides(overrides)
    with follow(), connected():
        with importing():
            from flows.outcome import outcome_of
            from flows.parameters import exact
            from flows.question_generation import question_generation

        keep_pandas_out()
        with exact(config=config, overrides=values) as shown:
            result = outcome_of(lambda: question_generation(day=date_of(day), **shown))
    _print_result(result, as_json)


def _print_dry_run(settings: Settings, as_json: bool) -> None:
    from flows.cli.console import follow
    from flows.cli.tables.preview import print_dry_run
    from tasks.preview.dry_run import find_dry_run

    with follow():
        found = find_dry_run(settings)
    if as_json:
        typer.echo(to_json(found.as_dict()))
    else:
        print_dry_run(found)


def rerun(
    run_name: RunName,
    shards: Annotated[
        str | None,
        typer.Option(metavar="NUMBERS", help="Only these shards, such as 3,7-9."),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only shards that failed in that run.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Remake them even if the store has them.")
    ] = False,
    store: StorePath = None,
    config: StoreConfig = None,
    as_json: AsJson = False,
) -> None:
    """Remake what is missing from a run, or chosen shards of it, with the config of that run."""
    from flows.cli.console import follow
    from flows.prepare import check_settings
    from flows.server.connection import connected
    from tasks.operations.rerun import parse_shards, plan_rerun

    place, numbers = place_of(store, config), parse_shards(shards)
    with follow():
        # Find the faults that need no Prefect before a server is started.
        again = plan_rerun(run_name, place.store, numbers, failed, force, place.config)
        check_settings(again.settings)
        with connected():
            with importing():
                from flows.outcome import outcome_of
                from flows.parameters import exact
                from flows.question_generation import rerun as rerun_flow

            keep_pandas_out()
            names = {"run": str(again.folder), "store": str(place.store.root)}
            with exact(**names) as shown:
                result = outcome_of(
                    lambda: rerun_flow(
                        **shown, shards=shards or "", only_failed=failed, force=force
                    )
                )
    _print_result(result, as_json)


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    from flows.cli.tables.runs import print_summary

    if as_json:
        typer.echo(to_json(result))
    else:
        print_summary(place_at(result["folder"]), result["metrics"])


def serve(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Deployments to serve.", show_default="all"),
    ] = None,
    file: DeploymentsFile = PREFECT_YAML,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Maximum concurrent runs.")] = 1,
    secret: Annotated[
        bool, typer.Option(help="Whether a server that it starts asks for a secret.")
    ] = True,
) -> None:
    """Serve the deployments: start their runs on schedule and from Prefect's UI."""
    from flows.cli.console import follow
    from flows.server.hosting import hosted
    from flows.server.settings import read_settings

    read_settings()
    from flows.deployments.file import read_deployments

    entries = read_deployments(file, names or [])
    with follow(), hosted(secret):
        from flows.deployments.serving import serve_deployments

        serve_deployments(file, entries, limit)


def export(config: Config, overrides: Overrides = None, day: Day = None) -> None:
    """Export the model only, as a static graph with the search inside."""
    from flows.cli.console import follow
    from flows.prepare import prepared
    from tasks.config.loading import find_config
    from tasks.store.claims import Claims

    with follow():
        from tasks.export.task import export_model

        settings = settings_of(config, overrides, day)
        with (
            prepared(settings, find_config(config), delivers=False) as plan,
            Claims(plan.store.claims_folder).beating() as claims,
        ):
            result = export_model(plan, claims)
    typer.echo(visible(f"{result}\n{plan.export.folder}"))


def doctor(
    config: ConfigOrDeployments = None,
    overrides: Overrides = None,
    day: Day = None,
    file: DeploymentsFile = PREFECT_YAML,
    as_json: AsJson = False,
) -> None:
    """Check that this machine has everything a config needs; exit code 2 if it cannot run here.

    Without CONFIG, check the deployments, as `wenti serve` does before it starts.
    """
    from flows.cli.tables.doctor import (
        can_run,
        check_deployments,
        examine,
        findings_as_json,
        print_findings,
    )
    from tasks.config.loading import find_config

    if config is None:
        findings, name, command = check_deployments(file), str(file), "wenti serve"
    else:
        findings = examine(settings_of(config, overrides, day), find_config(config))
        name = config
        command = shlex.join(["wenti", "run", config, *_options(overrides, day)])
    if as_json:
        typer.echo(findings_as_json(findings))
    else:
        print_findings(findings, name, command)
    if not can_run(findings):
        raise typer.Exit(UnusableError.exit_code)


def _options(overrides: list[str] | None, day: datetime | None) -> list[str]:
    """Return the options of a command as they were given."""
    pairs = [("--set", text) for text in overrides or []]
    if day is not None:
        pairs.append(("--date", day.date().isoformat()))
    return [part for pair in pairs for part in pair]
