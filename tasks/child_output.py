"""What a child process says: its log lines and all else it writes come out of the parent's log.

That holds for what Paddle's C++ prints and for the trace of a crash, as both go to the same files.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
from contextvars import Context, copy_context
from multiprocessing.connection import Connection
from threading import Thread

logger = logging.getLogger("wenti.child")

LAST_WORDS_SECONDS = 1.0


class Echo:
    """Logs the lines of a child in the context, such as Prefect's run, that it works for."""

    def __init__(self, name: str, output: Connection) -> None:
        self._name, self._context = name, copy_context()
        self._thread = Thread(target=self._read, args=(output,), name=f"wenti {name}", daemon=True)
        self._thread.start()

    def work_for_us(self) -> None:
        """Take what comes now as said in the context of who calls this."""
        self._context = copy_context()

    def end(self) -> None:
        """Wait for what a process said last; one that it started itself is not waited for long."""
        self._thread.join(LAST_WORDS_SECONDS)

    def _read(self, output: Connection) -> None:
        with output, os.fdopen(os.dup(output.fileno()), errors="backslashreplace") as lines:
            for line in lines:
                context: Context = self._context
                context.run(self._log, line.rstrip())

    def _log(self, line: str) -> None:
        level, _, message = line.partition(" ")
        number = logging.getLevelNamesMapping().get(level)
        text = message if number is not None else line
        if text:
            logger.log(number or logging.INFO, "%s: %s", self._name, text)


def speak_into(output: Connection) -> None:
    """Have all that this process writes go into the pipe of its parent's `Echo`."""
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
    output.close()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    faulthandler.enable()
    logging.basicConfig(format="%(levelname)s %(message)s")
    logging.getLogger("wenti").setLevel(logging.INFO)
