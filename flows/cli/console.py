"""What a command shows while it runs: a progress bar and messages on a terminal, or log lines.

Passage text, ids and paths are untrusted and may contain terminal control sequences; escape them
with `tasks.escaping.visible` or `to_json`.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tasks.escaping import VisibleFormatter
from tasks.predict.progress import Pace, shown_on

logger = logging.getLogger("wenti")


UNLIMITED = 1_000_000  # characters; of a line in a file or a pipe


def output() -> Console:
    """Return the console for results: lines are wrapped on a terminal only.

    In a file or a pipe, a path that is broken or cut cannot be copied or searched for.
    """
    return Console(width=None if sys.stdout.isatty() else UNLIMITED)


@contextmanager
def follow() -> Iterator[None]:
    """Show log messages and progress on standard error while the block runs."""
    console = Console(stderr=True)
    log_to(console)
    try:
        with _progress_bar(console) if console.is_terminal else nullcontext():
            yield
    except KeyboardInterrupt:
        command = shlex.join(["wenti", *sys.argv[1:]])
        logger.warning("interrupted; finished work is kept; to continue: %s", command)
        raise


@contextmanager
def _progress_bar(console: Console) -> Iterator[None]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    bar = progress.add_task("predict", total=None, visible=False)

    def show(pace: Pace) -> None:
        is_over = pace.done >= pace.rows  # a full bar during the next stage would look like a hang
        progress.update(bar, total=pace.rows, completed=pace.done, visible=not is_over)

    with progress, shown_on(show):
        yield


class _ConsoleHandler(logging.Handler):
    """Prints messages above the progress bar without wrapping, so that paths can be copied."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(Text(self.format(record)), soft_wrap=True)


def log_to(console: Console) -> None:
    """Show Wenti's log messages on a console."""
    handler: logging.Handler = logging.StreamHandler()
    form = "%(asctime)s %(levelname)s %(message)s"
    if console.is_terminal:
        handler, form = _ConsoleHandler(console), "%(message)s"
    handler.setFormatter(VisibleFormatter(form))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
