"""Commands on what a store holds: status, runs, show, report, compare, verify, gc.

Heavy modules are imported only by the commands that need them, so that `wenti --help` is fast.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

import typer

from flows.cli.completion import complete_run
from flows.cli.options import (
    A_RUN,
    AsJson,
    ConfigOrRun,
    Day,
    Overrides,
    RunName,
    StoreConfig,
    StorePath,
)
from flows.cli.places import Place, date_of, place_of
from tasks.errors import InputError, UnusableError
from tasks.escaping import to_json, visible

INCOMPLETE = 3


def status(
    name: ConfigOrRun,
    overrides: Overrides = None,
    day: Day = None,
    store: StorePath = None,
    config: StoreConfig = None,
    as_json: AsJson = False,
) -> None:
    """Show which stages and shards of a config or run exist, and the state of the run.

    Nothing is computed.
    """
    from flows.cli.tables.runs import print_status
    from tasks.operations.status import find_status

    place = place_of(store, config, day)
    found = find_status(name, place.store, overrides or [], date_of(day), place.config)
    if as_json:
        typer.echo(to_json(found.as_dict()))
    else:
        print_status(found)


def runs(
    most: Annotated[
        int, typer.Option("-n", "--runs", min=1, metavar="N", help="How many runs to list.")
    ] = 20,
    store: StorePath = None,
    config: StoreConfig = None,
    as_json: AsJson = False,
) -> None:
    """List the runs of a store, newest first: state, rows, rejects, BLEU, seconds, config."""
    from flows.cli.tables.runs import print_runs
    from tasks.operations.runs import summarize_runs

    place = place_of(store, config)
    found = summarize_runs(place.store, most, place.config)
    if as_json:
        typer.echo(to_json([one.as_dict() for one in found]))
    else:
        print_runs(found, place.store)


def show(
    run_name: RunName,
    rows: Annotated[
        int, typer.Option("-n", "--rows", min=1, metavar="N", help="How many rows to show.")
    ] = 10,
    row: Annotated[
        int | None,
        typer.Option(min=0, metavar="ROW", help="Only this row of the input, counted from 0."),
    ] = None,
    is_worst: Annotated[
        bool, typer.Option("--worst", help="The rows with the lowest score for each token first.")
    ] = False,
    flag: Annotated[
        str | None,
        typer.Option(metavar="FLAG", help="Only rows with this flag, such as duplicate."),
    ] = None,
    is_rejects: Annotated[
        bool, typer.Option("--rejects", help="The rows without a question, with the reasons.")
    ] = False,
    store: StorePath = None,
    config: StoreConfig = None,
    as_json: AsJson = False,
) -> None:
    """Show rows of a run: passage, answer, generated question, reference; or rejected rows."""
    from flows.cli.tables.rows import print_rejects, print_rows
    from tasks.operations.rows import (
        add_flags,
        find_flagged,
        find_row,
        find_worst,
        first_rejects,
        first_rows,
    )

    if sum((row is not None, is_worst, flag is not None, is_rejects)) > 1:
        raise InputError("give one of --row, --worst, --flag and --rejects")
    folder = _find_shown(run_name, place_of(store, config))
    if is_rejects:
        rejects = first_rejects(folder, rows)
        if as_json:
            typer.echo(to_json(rejects.rows))
        else:
            print_rejects(rejects)
        return
    if row is not None:
        shown = [find_row(folder, row, with_kept=as_json)]
    elif flag is not None:
        shown = find_flagged(folder, flag, rows, with_kept=as_json)
    else:
        find = find_worst if is_worst else first_rows
        shown = find(folder, rows, with_kept=as_json)
    if flag is not None and not shown:
        typer.echo(f"no question has the flag {flag}", err=True)
    shown = add_flags(folder, shown)
    if as_json:
        typer.echo(to_json(shown))
    else:
        print_rows(shown)


def report(
    run_name: RunName,
    is_opened: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    store: StorePath = None,
    config: StoreConfig = None,
) -> None:
    """Print the path of a run's report; the report is made if it is missing."""
    import webbrowser

    from tasks.report.write import ensure_report
    from tasks.store.files import storage_of

    place_of_report = ensure_report(_find_shown(run_name, place_of(store, config)))
    path = storage_of(place_of_report).fetch(place_of_report)
    typer.echo(visible(str(path)))
    if is_opened and not webbrowser.open(path.as_uri()):
        raise UnusableError(f"cannot start a browser here; open {path} in one yourself")


def compare(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help=A_RUN, autocompletion=complete_run)],
    run_b: Annotated[
        str,
        typer.Argument(
            metavar="RUN_B",
            help="The run to compare it with; a folder may be in another store.",
            autocompletion=complete_run,
        ),
    ],
    rows: Annotated[
        int,
        typer.Option(
            "-n", "--rows", min=0, metavar="N", help="How many changed questions to show."
        ),
    ] = 10,
    store: StorePath = None,
    config: StoreConfig = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs: what differs, how the metrics change, which questions changed."""
    from flows.cli.tables.comparison import print_comparison, waiting
    from tasks.operations.compare import compare_runs

    place = place_of(store, config)
    a, b = (_find_shown(name, place) for name in (run_a, run_b))
    with waiting():
        comparison = compare_runs(a, b, rows)
    if as_json:
        typer.echo(to_json(comparison.as_dict()))
    else:
        print_comparison(comparison)


def _find_shown(name: str, place: Place) -> PurePath:
    """Return the folder of a run to look at; say if nothing of it was delivered."""
    from tasks.runs.find import find_shown

    folder, note = find_shown(name, place.store, place.config)
    if note is not None:
        typer.echo(visible(f"note: {note}"), err=True)
    return folder


def verify(
    run_name: RunName,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remake what is missing or damaged.")
    ] = False,
    store: StorePath = None,
    config: StoreConfig = None,
    as_json: AsJson = False,
) -> None:
    """Read back every checkpoint and result of a run; list what is missing or damaged."""
    from dataclasses import asdict

    from flows.cli.tables.runs import print_checked
    from tasks.operations.verify import verify_run
    from tasks.runs.find import find_run

    place = place_of(store, config)
    folder = find_run(run_name, place.store, place.config)
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
        typer.echo(visible(f"to remake it: wenti rerun {folder}"), err=True)
        raise typer.Exit(INCOMPLETE)


def _repair(folder: PurePath) -> None:
    from flows.cli.console import follow
    from flows.server.connection import connected

    with follow(), connected():
        from flows.repair import repair_run

        fresh = repair_run(folder)
    typer.echo(visible(f"remade; the new results are in {fresh}"), err=True)


def gc(
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove it; without this option it is only listed.")
    ] = False,
    keep_runs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Also remove runs that are older than the newest N complete ones, but not the "
            "newest complete run of each config.",
        ),
    ] = None,
    store: StorePath = None,
    config: StoreConfig = None,
    as_json: AsJson = False,
) -> None:
    """List what no run in the store refers to; with --delete, remove it."""
    from flows.cli.tables.runs import print_garbage
    from tasks.operations.gc import find_garbage, remove
    from tasks.store.lock import exclusive_lock

    root = place_of(store, config).store
    with exclusive_lock(root):
        garbage = find_garbage(root, keep_runs)
        if delete:
            remove(garbage)
    if as_json:
        found = [{"path": str(one.path), "why": one.why, "size": one.size} for one in garbage]
        typer.echo(to_json({"removed": delete, "garbage": found}))
    else:
        print_garbage(garbage, delete)
