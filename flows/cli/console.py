"""What people see: a progress bar on a terminal and log lines elsewhere, tables, a summary.

Passages, ids and paths come from anywhere, and a terminal does what they say: all text goes through
`tasks.escaping.visible` or `to_json` on its way out.
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
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tasks.escaping import visible
from tasks.predict.progress import listen

logger = logging.getLogger("wenti")


class Bar:
    """A progress bar over the rows of the predict stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def start(self, rows: int) -> None:
        """Show the bar for a number of rows."""
        self._task = self._progress.add_task("predict", total=rows)

    def advance(self, rows: int) -> None:
        """Move the bar on by a number of rows."""
        if self._task is not None:
            self._progress.advance(self._task, rows)


@contextmanager
def follow() -> Iterator[None]:
    """Show on standard error what happens in this block."""
    console = Console(stderr=True)
    _log_to(console)
    try:
        with _progress_bar(console) if console.is_terminal else nullcontext():
            yield
    except KeyboardInterrupt:
        command = shlex.join(["wenti", *sys.argv[1:]])
        logger.warning("interrupted; what is made is kept, this goes on from there: %s", command)
        raise


@contextmanager
def _progress_bar(console: Console) -> Iterator[None]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    with progress, listen(Bar(progress)):
        yield


class _VisibleFormatter(logging.Formatter):
    """Formats messages for a terminal; a log file is read on one too."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _ConsoleHandler(logging.Handler):
    """Prints messages above the progress bar, unwrapped, so that paths can be copied."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(Text(self.format(record)), soft_wrap=True)


def _log_to(console: Console) -> None:
    handler: logging.Handler = logging.StreamHandler()
    form = "%(asctime)s %(levelname)s %(message)s"
    if console.is_terminal:
        handler, form = _ConsoleHandler(console), "%(message)s"
    handler.setFormatter(_VisibleFormatter(form))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
