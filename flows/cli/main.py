"""The command line: the list of commands, and how errors and signals end them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from types import FrameType
from typing import Annotated

import typer

from flows.cli.bench import bench
from flows.cli.commands import results, running, starting, stored, trend
from flows.cli.streams import leave, prepare_streams
from tasks.errors import ServerError, WentiError
from tasks.escaping import visible
from tasks.system_errors import machine_faults

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"wenti {version('wenti')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Generate questions for passages with a PaddleNLP checkpoint, in restartable steps."""


COMMANDS = (
    starting.init,
    starting.try_,
    running.run,
    running.rerun,
    running.serve,
    running.export,
    running.doctor,
    stored.status,
    stored.runs,
    stored.show,
    stored.report,
    results.export_results,
    stored.compare,
    trend.trend,
    stored.verify,
    stored.gc,
)
WORKING = {"init", "run", "rerun", "export", "export-results", "serve"}
"""The commands whose result is not what they print."""

for command in COMMANDS:
    app.command(command.__name__.rstrip("_").replace("_", "-"))(command)
app.add_typer(bench, name="bench")


def is_printing(arguments: Sequence[str]) -> bool:
    """Return whether the result of a command is what it prints."""
    return not WORKING & {*arguments[:1]} or "--dry-run" in arguments


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> None:
    """Run the command line; a `WentiError` is printed, and its exit code is that of the process."""
    output = prepare_streams()
    # Schedulers send SIGTERM, a terminal that is closed SIGHUP; both are handled like Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` sets SIG_IGN
        signal.signal(signal.SIGHUP, _interrupt)
    code: object = 0
    try:
        with machine_faults():
            app(standalone_mode=True)
    except WentiError as error:
        typer.echo(f"wenti: {visible(str(error))}", err=True)
        code = error.exit_code
        if isinstance(error, ServerError):
            # A normal exit waits a minute for Prefect to send its events to the missing server.
            os._exit(error.exit_code)
    except SystemExit as ending:
        code = ending.code
    leave(code, output, is_printing(sys.argv[1:]))
