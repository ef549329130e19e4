"""Contenders: processes that load once and then answer each `go` with the seconds that it took.

The protocol is one JSON value per line. Standard input gets an order, then any number of `"go"`.
Standard output gets facts about what was loaded, after the warm-up, then an answer to each `"go"`.
Standard error takes all other output; its end is shown if the process dies.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.errors import WorkerError

SPEED_VARIABLES = ("MKL_", "OMP_", "KMP_", "FLAGS_", "CT2_", "MALLOC_")
"""Prefixes of environment variables that change the speed; they are not passed on."""

LAST_LINES = 3
ROOT = Path(__file__).resolve().parents[3]


class Contender:
    """One contender; it starts loading at once, so that several can load in parallel.

    Args:
        name: for messages.
        command: the program and its arguments.
        order: the first line that it receives.
        variables: environment variables in addition to those of this process, which are passed on
            without those of `SPEED_VARIABLES`.

    Raises:
        WorkerError: it died before it read the order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        order: Mapping[str, Any],
        variables: Mapping[str, str],
    ) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed by `stop`
        self._process = subprocess.Popen(  # noqa: S603 our own modules
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_environment(variables),
            text=True,
            encoding="utf-8",
        )
        self._send(order)

    def ask(self) -> dict[str, Any]:
        """Run its work once; return `seconds` and the rest of its answer.

        Raises:
            WorkerError: it died.
        """
        self._send("go")
        return self.receive()

    def receive(self) -> dict[str, Any]:
        """Wait for the next line and return it; the first has the facts about what was loaded.

        Raises:
            WorkerError: it died; the message ends with the last lines of its standard error.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise self._death()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """Kill the process and close its pipes."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            if file is not None:
                _close(file)

    def __enter__(self) -> Self:
        """Return the contender itself."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Kill the process."""
        self.stop()

    def _send(self, message: object) -> None:
        try:
            if self._process.stdin:
                print(json.dumps(message), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._death() from None

    def _death(self) -> WorkerError:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        end = " / ".join(line.strip() for line in lines[-LAST_LINES:]) or "no output"
        return WorkerError(f"the benchmark's process {self.name} died (exit code {code}): {end}")


def module_command(module: str, python: str | None = None) -> list[str]:
    """Return the command that runs a module of this package as a contender.

    Args:
        module: its name.
        python: the interpreter of another environment; None: of this one.
    """
    return [python or sys.executable, "-m", f"tasks.bench.contenders.{module}"]


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {key: text for key, text in os.environ.items() if not key.startswith(SPEED_VARIABLES)}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, **variables}


def _close(file: Any) -> None:  # noqa: ANN401 any kind of file
    try:
        file.close()
    except BrokenPipeError:  # buffered input that the process did not read
        return
