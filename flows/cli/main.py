"""The command line, a function for each command; those of `wenti bench` are in `flows.cli.bench`.

Nothing heavy is imported before a command needs it, so that `wenti --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import date, datetime
from pathlib import Path, PurePath
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.bench import bench
from tasks.errors import ServerError, UnusableError, WentiError
from tasks.escaping import to_json, visible

if TYPE_CHECKING:
    from tasks.config.settings import Settings


app = typer.Typer(
    help="Generate questions for passages with a PaddleNLP checkpoint, in restartable steps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INCOMPLETE = 3

Config = Annotated[str, typer.Argument(help="Name of a config, as demo, or a YAML file.")]
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
        "--date", formats=["%Y-%m-%d"], help="What {date} in a path is.  [default: today]"
    ),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Run id, also Prefect's, folder, or latest.")
]
StorePath = Annotated[Path, typer.Option(help="Folder of the store.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def run(
    config: Config, overrides: Overrides = None, day: Day = None, as_json: AsJson = False
) -> None:
    """Export, load, predict what is missing, aggregate; end with a summary."""
    from flows.cli.console import follow
    from flows.prepare import check_settings
    from flows.server.connection import connected
    from tasks.config.overrides import parse_overrides

    check_settings(_settings(config, overrides, day))
    with follow(), connected():
        from flows.question_generation import question_generation

        values, _no_faults = parse_overrides(overrides or [])
        result = question_generation(config, _date(day), values)
    _tell(result, as_json)


def _settings(config: str, overrides: list[str] | None, day: datetime | None) -> Settings:
    from tasks.config.loading import find_config, load_settings
    from tasks.config.paths import with_date

    return with_date(load_settings(find_config(config), overrides or []), _date(day))


def _date(day: datetime | None) -> date:
    return (day or datetime.now()).date()


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
    from flows.cli.console import follow
    from flows.server.connection import connected
    from tasks.operations.rerun import parse_shards, plan_rerun
    from tasks.store.layout import Store

    # The faults that need no Prefect.
    plan_rerun(run_name, Store(store), parse_shards(shards), failed, force)
    with follow(), connected():
        from flows.question_generation import rerun as rerun_flow

        result = rerun_flow(run_name, str(store), shards or "", failed, force)
    _tell(result, as_json)


def _tell(result: dict[str, Any], as_json: bool) -> None:
    from flows.cli.tables import print_summary

    if as_json:
        typer.echo(to_json(result))
    else:
        print_summary(Path(result["folder"]), result["metrics"])


@app.command()
def serve(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Deployments.  [default: all]")
    ] = None,
    file: Annotated[Path, typer.Option(help="Where the deployments are.")] = Path("prefect.yaml"),
    limit: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
) -> None:
    """Serve the deployments: start their runs on schedule and from Prefect's UI."""
    from flows.cli.console import follow
    from flows.server.hosting import hosted

    with follow(), hosted():
        from flows.deployments import serve_deployments

        serve_deployments(file, names or [], limit)


@app.command()
def export(config: Config, overrides: Overrides = None, day: Day = None) -> None:
    """Export the model only, as a static graph with the search inside."""
    from flows.cli.console import follow
    from flows.prepare import prepared
    from tasks.store.claims import Claims

    with follow():
        from tasks.export.task import export_model

        with (
            prepared(_settings(config, overrides, day)) as plan,
            Claims(plan.store.claims_folder).beating() as claims,
        ):
            result = export_model(plan, claims)
    typer.echo(visible(f"{result}\n{plan.export.folder}"))


@app.command()
def doctor(
    config: Config, overrides: Overrides = None, day: Day = None, as_json: AsJson = False
) -> None:
    """Look at all that a config needs of this machine; exit code 2 if it cannot run here."""
    from flows.cli.doctor import can_run, examine, findings_as_json, print_findings

    findings = examine(_settings(config, overrides, day))
    if as_json:
        typer.echo(findings_as_json(findings))
    else:
        print_findings(findings, config)
    if not can_run(findings):
        raise typer.Exit(UnusableError.exit_code)


@app.command()
def status(
    config: ConfigOrRun,
    overrides: Overrides = None,
    day: Day = None,
    store: StorePath = Path("wenti-store"),
    as_json: AsJson = False,
) -> None:
    """Show which stages and shards of a config or run are there; nothing is computed."""
    from flows.cli.tables import print_status
    from tasks.operations.status import look_at, settings_of
    from tasks.store.layout import Store

    found = look_at(settings_of(config, Store(store), overrides or [], _date(day)))
    if as_json:
        typer.echo(to_json(found.as_dict()))
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

    from flows.cli.tables import print_rows
    from tasks.runs.find import find_results
    from tasks.runs.results import PREDICTIONS_FILE
    from tasks.store.layout import Store
    from tasks.store.tables import iterate_rows

    folder = find_results(run_name, Store(store))
    shown = list(islice(iterate_rows(folder / PREDICTIONS_FILE), rows))
    if as_json:
        typer.echo(to_json(shown))
    else:
        print_rows(shown)


@app.command()
def report(
    run_name: RunName,
    is_opened: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    store: StorePath = Path("wenti-store"),
) -> None:
    """Print where a run's report is; it is made if it is not there."""
    import webbrowser

    from tasks.report.write import ensure_report
    from tasks.runs.find import find_results
    from tasks.store.layout import Store

    path = ensure_report(find_results(run_name, Store(store)))
    typer.echo(visible(str(path)))
    if is_opened and not webbrowser.open(path.as_uri()):
        raise UnusableError(f"no browser can be started here; open {path} in one yourself")


@app.command()
def compare(
    run_a: Annotated[str, typer.Argument(help="Run id, also Prefect's, folder, or latest.")],
    run_b: Annotated[str, typer.Argument(help="The run to compare with it.")],
    rows: Annotated[
        int, typer.Option("-n", "--rows", min=0, help="How many changed questions.")
    ] = 10,
    store: StorePath = Path("wenti-store"),
    as_json: AsJson = False,
) -> None:
    """Compare two runs: what differs, by how much the metrics do, which questions changed."""
    from flows.cli.compare_tables import print_comparison, waiting
    from tasks.operations.compare import compare_runs
    from tasks.runs.find import find_results
    from tasks.store.layout import Store

    a, b = (find_results(name, Store(store)) for name in (run_a, run_b))
    with waiting():
        comparison = compare_runs(a, b, rows)
    if as_json:
        typer.echo(to_json(comparison.as_dict()))
    else:
        print_comparison(comparison)


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

    from flows.cli.tables import print_checked
    from tasks.operations.verify import verify_run
    from tasks.runs.find import find_run
    from tasks.store.layout import Store

    folder = find_run(run_name, Store(store))
    checked = verify_run(folder)
    if repair and any(part.state != "ok" for part in checked):
        _repair(folder)
        checked = verify_run(folder)
    if as_json:
        parts = [asdict(part) for part in checked]
        typer.echo(to_json(parts))
    else:
        print_checked(checked)
    if any(part.state != "ok" for part in checked):
        typer.echo(visible(f"to make it again: wenti rerun {folder}"), err=True)
        raise typer.Exit(INCOMPLETE)


def _repair(folder: PurePath) -> None:
    from flows.cli.console import follow
    from flows.server.connection import connected
    from tasks.operations.verify import restore_results
    from tasks.runs.find import store_of
    from tasks.store.lock import shared_lock

    with follow(), connected():
        from flows.question_generation import rerun as rerun_flow

        fresh = rerun_flow(str(folder))["folder"]
    with shared_lock(store_of(folder)):
        restore_results(folder, Path(fresh))
    typer.echo(visible(f"made again; the results are in {fresh}"), err=True)


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; else it is listed.")] = False,
    keep_runs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Also forget all runs but the newest N."),
    ] = None,
    store: StorePath = Path("wenti-store"),
    as_json: AsJson = False,
) -> None:
    """List, and with --delete remove, what no run of the store refers to."""
    from flows.cli.tables import print_garbage
    from tasks.operations.gc import find_garbage, remove
    from tasks.store.layout import Store
    from tasks.store.lock import exclusive_lock

    with exclusive_lock(Store(store)):
        garbage = find_garbage(Store(store), keep_runs)
        if delete:
            remove(garbage)
    if as_json:
        found = [{"path": str(one.path), "why": one.why, "size": one.size} for one in garbage]
        typer.echo(to_json({"removed": delete, "garbage": found}))
    else:
        print_garbage(garbage, delete)


app.add_typer(bench, name="bench")


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> None:
    """Run the command line; an error that Wenti knows is one message and its exit code."""
    # Schedulers stop a job by SIGTERM, a terminal that closes by SIGHUP; it ends as by Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        app(standalone_mode=True)
    except WentiError as error:
        typer.echo(f"wenti: {visible(str(error))}", err=True)
        if isinstance(error, ServerError):
            # Prefect would try for a minute to hand its events to the server that is gone.
            os._exit(error.exit_code)
        sys.exit(error.exit_code)
