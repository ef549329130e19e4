"""The command line: `wenti run`, `rerun`, `export`, `status`, `show`, `verify`, `gc`.

Nothing heavy is imported before a command needs it, so that `wenti --help` answers at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.errors import WentiError

app = typer.Typer(
    help="Generate questions for passages with a PaddleNLP checkpoint, in restartable steps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INCOMPLETE = 3

Config = Annotated[Path, typer.Argument(help="YAML config, such as configs/demo.yaml.")]
ConfigOrRun = Annotated[str, typer.Argument(metavar="CONFIG|RUN", help="YAML config, or a run.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key; may be repeated."),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Run id, folder, or latest.")]
StorePath = Annotated[Path, typer.Option(help="Folder of the store.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def run(config: Config, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Export, load, predict what is missing, aggregate; end with a summary."""
    from flows.console import follow
    from flows.temporary_server import prepare_prefect
    from tasks.config import load_settings
    from tasks.preparation import check_settings

    check_settings(load_settings(config, overrides or []))
    with follow():
        prepare_prefect()
        from flows.question_generation import question_generation

        result = question_generation(str(config), overrides or [])
    _tell(result, as_json)


@app.command()
def rerun(
    run_name: RunName,
    shards: Annotated[
        str | None, typer.Option(metavar="3,7", help="Only these shards; ranges as 3-7.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only shards that failed in that run.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Anew, even if the store has them.")
    ] = False,
    store: StorePath = Path("wenti-store"),
    as_json: AsJson = False,
) -> None:
    """Make again what a run lacks, or chosen shards of it, as the run was asked to."""
    from flows.console import follow
    from flows.temporary_server import prepare_prefect
    from tasks.reruns import parse_shards, plan_rerun
    from tasks.store import Store

    chosen = parse_shards(shards)
    plan_rerun(run_name, Store(store), chosen, failed, force)  # the faults that need no Prefect
    with follow():
        prepare_prefect()
        from flows.question_generation import rerun as rerun_flow

        result = rerun_flow(run_name, str(store), chosen, failed, force)
    _tell(result, as_json)


def _tell(result: dict[str, Any], as_json: bool) -> None:
    from flows.console import print_summary

    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        print_summary(Path(result["folder"]), result["metrics"])


@app.command()
def export(config: Config, overrides: Overrides = None) -> None:
    """Export the model only, as a static graph with the search inside."""
    from flows.console import follow
    from tasks.claims import Claims
    from tasks.config import load_settings
    from tasks.preparation import prepare

    with follow():
        from tasks.export import export_model

        plan = prepare(load_settings(config, overrides or []))
        with Claims(plan.store.claims_folder) as claims:
            result = export_model(plan, claims)
    typer.echo(f"{result}\n{plan.export.folder}")


@app.command()
def status(
    config: ConfigOrRun,
    overrides: Overrides = None,
    store: StorePath = Path("wenti-store"),
    as_json: AsJson = False,
) -> None:
    """Show which stages and shards of a config or run are there; nothing is computed."""
    from flows.console import print_status
    from tasks.status import look_at, settings_of
    from tasks.store import Store

    found = look_at(settings_of(config, Store(store), overrides or []))
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False, indent=2))
    else:
        print_status(found)


@app.command()
def show(
    run_name: RunName,
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="How many rows.")] = 10,
    store: StorePath = Path("wenti-store"),
    as_json: AsJson = False,
) -> None:
    """Show rows of a run: passage, answer, generated question, reference."""
    from itertools import islice

    from flows.console import print_rows
    from tasks.outputs import PREDICTIONS_FILE, read_rows_of
    from tasks.runs import find_results
    from tasks.store import Store

    folder = find_results(run_name, Store(store))
    shown = list(islice(read_rows_of(folder / PREDICTIONS_FILE), rows))
    if as_json:
        typer.echo(json.dumps(shown, ensure_ascii=False, indent=2))
    else:
        print_rows(shown)


@app.command()
def verify(
    run_name: RunName,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make again what is missing or damaged.")
    ] = False,
    store: StorePath = Path("wenti-store"),
    as_json: AsJson = False,
) -> None:
    """Read every checkpoint and result of a run back; names what is missing or damaged."""
    from dataclasses import asdict

    from flows.console import print_checked
    from tasks.runs import find_run
    from tasks.store import Store
    from tasks.verification import verify_run

    folder = find_run(run_name, Store(store))
    checked = verify_run(folder)
    if repair and any(part.state != "ok" for part in checked):
        _repair(folder)
        checked = verify_run(folder)
    if as_json:
        parts = [asdict(part) for part in checked]
        typer.echo(json.dumps(parts, ensure_ascii=False, indent=2))
    else:
        print_checked(checked)
    if any(part.state != "ok" for part in checked):
        typer.echo(f"to make it again: wenti rerun {folder}", err=True)
        raise typer.Exit(INCOMPLETE)


def _repair(folder: Path) -> None:
    from flows.console import follow
    from flows.temporary_server import prepare_prefect
    from tasks.verification import restore_results

    with follow():
        prepare_prefect()
        from flows.question_generation import rerun as rerun_flow

        fresh = rerun_flow(str(folder))["folder"]
    restore_results(folder, Path(fresh))
    typer.echo(f"made again; the results are in {fresh}", err=True)


def main() -> None:
    """Run the command line; an error that Wenti knows is one message and its exit code."""
    try:
        app(standalone_mode=True)
    except WentiError as error:
        typer.echo(f"wenti: {error}", err=True)
        sys.exit(error.exit_code)
