"""The command line: which commands there are, and how an error or a signal ends one."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from flows.cli import run_commands, store_commands
from flows.cli.bench import bench
from tasks.errors import ServerError, WentiError
from tasks.escaping import visible

app = typer.Typer(
    help="Generate questions for passages with a PaddleNLP checkpoint, in restartable steps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    run_commands.run,
    run_commands.rerun,
    run_commands.serve,
    run_commands.export,
    run_commands.doctor,
    store_commands.status,
    store_commands.show,
    store_commands.report,
    store_commands.compare,
    store_commands.verify,
    store_commands.gc,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(bench, name="bench")


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> None:
    """Run the command line; a `WentiError` is printed as one message and ends it with its code."""
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
