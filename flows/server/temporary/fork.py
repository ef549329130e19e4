"""A child process that is forked, and so has imported what its parent has.

A fork has one thread only: what other threads do is never finished in it, and locks that they hold
are never released. So only a process with a single thread may be forked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

POLL_SECONDS = 0.02
THREADS, DESCRIPTORS = Path("/proc/self/task"), Path("/proc/self/fd")


class Fork:
    """A forked child, which waits, ends and is killed as a `subprocess.Popen`.

    Attributes:
        pid: its id.
    """

    def __init__(
        self, target: Callable[[], None], streams: tuple[int, int, int], kept: Collection[int]
    ) -> None:
        """Fork this process; the child calls `target` and ends, with exit code 1 if that raises.

        Args:
            target: what it does.
            streams: descriptors that it has as standard input, output and error.
            kept: further descriptors that it keeps; all others are closed in it.
        """
        self._returned: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _be_child(target, streams, kept)

    def poll(self) -> int | None:
        """Return the exit code, or minus the number of the signal that ended it; None: it runs."""
        if self._returned is None:
            try:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # SIGCHLD is ignored, so nobody knows how it has ended
                ended, status = self.pid, 0
            self._returned = os.waitstatus_to_exitcode(status) if ended else None
        return self._returned

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return what `poll` does.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (returned := self.poll()) is None:
            if timeout is not None and end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("a forked process", timeout)
            time.sleep(POLL_SECONDS)
        return returned

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def can_fork() -> bool:
    """Return whether this process has a single thread; those of libraries count too."""
    return len(list(THREADS.iterdir())) == 1


def _be_child(
    target: Callable[[], None], streams: tuple[int, int, int], kept: Collection[int]
) -> NoReturn:
    code = 1
    try:
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        for descriptor in {int(entry.name) for entry in DESCRIPTORS.iterdir()} - {0, 1, 2, *kept}:
            with suppress(OSError):  # that of the listing is closed already
                os.close(descriptor)
        target()
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)  # without what the parent does at its end
