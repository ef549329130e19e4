"""Child processes: one for a single call, or one that answers call after call.

Paddle is imported in children only: it takes seconds and hundreds of megabytes, brings its own
zlib and signal handlers, and when it crashes it takes its process with it. Children are spawned,
so that they inherit nothing of Prefect or of another child's Paddle.
"""

from __future__ import annotations

import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, ParamSpec, TextIO, TypeVar

from tasks.environment import keep_pandas_out, provide_home, restore_variables
from tasks.errors import BatchTimeoutError, OutOfMemoryError, WentiError, WorkerError

logger = logging.getLogger("wenti.child")

STOP_SECONDS = 5.0
PARENT_SECONDS = 1.0
LAST_LINES_SECONDS = 1.0

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

_lock = threading.Lock()
_starting = threading.Lock()
_running: set[Child] = set()


class Child:
    """A process that runs `target(connection, *args)`, and the parent's end of the connection.

    With `has_children`, it may start others; the caller must then stop it in any case, because
    Python waits for such a process at its end instead of ending it.
    """

    def __init__(
        self, name: str, target: Callable[..., None], *args: object, has_children: bool = False
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.name = name
        self._connection, theirs = spawn.Pipe()
        output, their_output = spawn.Pipe(duplex=False)
        self._stopping = threading.Lock()
        ends = (theirs, their_output)
        self._process = spawn.Process(
            target=_start,
            args=(name, target, *ends, *args),
            name=f"wenti {name}",
            daemon=not has_children,
        )
        with _without_main_module():
            self._process.start()
        for end in ends:
            end.close()
        self._echo = Echo(name, output)
        with _lock:
            _running.add(self)

    @property
    def process_id(self) -> int | None:
        """The id of the process."""
        return self._process.pid

    def send(self, message: object) -> None:
        """Send something that can be pickled; raise a `WorkerError` if the process is dead."""
        self._echo.set_log_context()
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._death() from error

    def receive(self, seconds: float | None = None) -> Any:  # noqa: ANN401 the target decides
        """Return the next answer, waiting at most `seconds`; raise an answer that is an error.

        Raises:
            BatchTimeoutError: there was no answer in that time.
            WorkerError: the process died, or what it did ended in an unexpected error.
            WentiError, OSError: what the process sent.
        """
        try:
            if not self._connection.poll(seconds):
                raise BatchTimeoutError(f"the {self.name} gave no answer in {seconds:.0f} s")
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(answer, WentiError | OSError):
            raise answer
        return answer

    def stop(self) -> None:
        """End the process, at last by SIGKILL; several threads may call this."""
        with _lock:
            _running.discard(self)
        with self._stopping:  # closing the connection twice could close another file
            self._process.terminate()
            self._process.join(STOP_SECONDS)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._connection.close()
        self._echo.end()

    def _death(self) -> WorkerError:
        self._process.join(STOP_SECONDS)
        code = self._process.exitcode
        ending = "its connection closed" if code is None else f"exit code {code}"
        if code is not None and code < 0:
            ending = f"signal {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                ending += ", as when memory runs short"
        return WorkerError(f"the {self.name} died ({ending})")


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Let processes that are spawned in the block not import the program that spawns them.

    It is not needed there, and importing the command line, or Prefect in a run of a deployment,
    takes longer than importing what the process needs.
    """
    with _starting:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def stop_children() -> None:
    """End every child; a thread that waits for one gets a `WorkerError`."""
    with _lock:
        children = list(_running)
    for child in children:
        child.stop()


def call_in_child(
    function: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Answer:
    """Return `function(*args, **kwargs)`, computed in a process of its own.

    Raises:
        WorkerError: the process died, or the function ended in an unexpected error.
        WentiError, OSError: what the function raised.
    """
    return _call(None, function, args, kwargs)


def call_telling_child(
    hear: Callable[[Any], None], function: Callable[..., Answer], *args: object
) -> Answer:
    """Do what `call_in_child` does; `hear` gets each message that the function gives to `tell`."""
    return _call(hear, function, args, {})


def _call(
    hear: Callable[[Any], None] | None,
    function: Callable[..., Answer],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> Answer:
    name, tells = f"process of {function.__name__}", hear is not None
    child = Child(name, _answer_call, function, args, kwargs, tells, has_children=True)
    try:
        while len(result := child.receive()) > 1 and hear is not None:
            hear(result[1])
    finally:
        child.stop()
    answered: tuple[Answer] = result
    return answered[0]


def answer(connection: Connection, compute: Callable[[], object]) -> None:
    """Send what `compute()` returns, or the error that it raises."""
    try:
        connection.send(compute())
    except WentiError as error:
        connection.send(error)
    except MemoryError as error:
        connection.send(OutOfMemoryError(f"out of memory: {error}"))
    except OSError as error:  # the parent knows what it was writing
        connection.send(OSError(error.errno, error.strerror, error.filename))
    except Exception as error:
        traceback.print_exc()
        connection.send(WorkerError(f"{type(error).__name__}: {error}"))


def _start(
    name: str,
    target: Callable[..., None],
    connection: Connection,
    output: Connection,
    *args: object,
) -> None:
    # A terminal sends these to its whole process group; the parent stops its children itself.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    show_name(name)
    redirect_output(output)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    restore_variables()
    keep_pandas_out()
    try:
        provide_home()
    except WentiError as error:
        connection.send(error)
        return
    target(connection, *args)


def show_name(name: str) -> None:
    """Show what this process is for in `top` and `ps -o comm`, which have room for 15 bytes."""
    with suppress(OSError):
        Path("/proc/self/comm").write_bytes(name.encode()[:15])


def _end_with_parent(parent: int) -> None:
    """End this process when its parent is gone, even if the parent was killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _answer_call(
    connection: Connection,
    function: Callable[..., object],
    args: tuple[object, ...],
    kwargs: dict[str, object],
    tells: bool,
) -> None:
    if tells:
        kwargs["tell"] = lambda message: connection.send((None, message))
    answer(connection, lambda: (function(*args, **kwargs),))


class Echo:
    """Logs the lines of a child in the context that it works for, such as one of Prefect's runs."""

    def __init__(self, name: str, output: Connection) -> None:
        self._name, self._context = name, copy_context()
        self._thread = Thread(target=self._read, args=(output,), name=f"wenti {name}", daemon=True)
        self._thread.start()

    def set_log_context(self) -> None:
        """Log the lines that come from now on in the context of the caller."""
        self._context = copy_context()

    def end(self) -> None:
        """Wait for the last lines, but not long: a process of the child may still hold the pipe."""
        self._thread.join(LAST_LINES_SECONDS)

    def _read(self, output: Connection) -> None:
        pipe = os.dup(output.fileno())
        with output, os.fdopen(pipe, encoding="utf-8", errors="backslashreplace") as lines:
            for line in lines:
                context: Context = self._context
                context.run(self._log, line.rstrip())

    def _log(self, line: str) -> None:
        level, _, message = line.partition(" ")
        number = logging.getLevelNamesMapping().get(level)
        text = message if number is not None else line
        if text:
            logger.log(number or logging.INFO, "%s: %s", self._name, text)


def redirect_output(output: Connection) -> None:
    """Redirect everything that this process writes into the pipe of its parent's `Echo`."""
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    # The streams that were there have the terminal's encoding, which may lack characters.
    sys.stdout, sys.stderr = _open_text(1), _open_text(2)
    faulthandler.enable(2)
    logging.basicConfig(format="%(levelname)s %(message)s")
    logging.getLogger("wenti").setLevel(logging.INFO)


def _open_text(descriptor: int) -> TextIO:
    return open(
        descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
